"""The section on preference data, from ``audit.json``: what to know in a minute, then the numbers behind it."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from guerdon.report import plots
from guerdon.report.page import Headline, Section
from guerdon.report.parts import Markup, figure, figures, folded, heading, how_to_read, interval, join, table
from guerdon.report.rankings import rankings_part

Found = Mapping[str, Any]
Row = tuple[str, str, str]
COUNTS = (
    ("records", "one prompt with its responses and judgements"),
    ("prompts", "different prompts"),
    ("comparisons", "judgements of two responses"),
    ("ties", "no side preferred"),
    ("soft", "a probability instead of a choice"),
    ("empty", "responses that say nothing"),
    ("identical", "a response compared with itself"),
    ("duplicates", "a judgement that stands there twice"),
    ("contradictions", "pairs decided both ways"),
)


def preferences_section(stored: Found) -> Section:
    """Counts, defects, bias, noise, agreement and coverage. Files written before a part existed lack it."""
    found = stored["audit"]
    examples = found.get("examples") or {}
    rows = [(name, found[name], meaning, lines(examples.get(name) or ())) for name, meaning in COUNTS]
    rows += list(_near_rows(found))
    parts: list[Markup] = [
        table(("", "count", "what it is", "first found at line"), rows),
        how_to_read(
            "Anything but zero from 'empty' on is worth a look before training: such records teach nothing or teach "
            "noise."
        ),
        *_plots(found),
        heading("Bias, noise, agreement"),
        table(("", "estimate", "95 % interval"), [*_bias(found), *_noise(found), *_agreement(found), *_leaks(found)]),
        how_to_read(
            "A reward model must beat the accuracy of length and of layout alone. Separability is the chance that a "
            "chosen response looks better than a rejected one without its prompt: 0.5 is none, near 1 a short cut. "
            "α is 1 for full agreement and 0 for chance."
        ),
        *_lists(found),
        rankings_part(found),
    ]
    unknown = [f"{name.replace('_', ' ')}: {reason}" for name, reason in found["reasons"].items()]
    if unknown:
        parts.append(how_to_read("Not known – " + "; ".join(unknown) + "."))
    if found.get("sampled"):
        looked = ", ".join(f"{name.replace('_', ' ')} {n:,}" for name, n in found["sampled"].items())
        parts.append(how_to_read(f"Looked at a sample only: {looked}."))
    said = tuple(found.get("headline") or ())
    fine = len(said) == 1 and said[0].startswith("No defect")
    summary = _summary(found)
    box = Headline(good=said) if fine else Headline(wrong=said)
    return Section("Preferences", join(parts), summary, box)


def lines(sources: Sequence[str]) -> str:
    """Line numbers of 'file:line' sources."""
    return ", ".join(source.rpartition(":")[2].removeprefix(" record ") for source in sources)


def _near_rows(found: Found) -> Iterator[tuple[str, int, str, str]]:
    for near in found.get("near_duplicates") or ():
        shown = lines([group["sources"][-1] for group in near["examples"]])
        yield (
            f"near-duplicate {near['of']}",
            near["redundant"],
            f"nearly the same as an earlier one, {near['exact']:,} of them word by word (of {near['texts']:,})",
            shown,
        )


def _plots(found: Found) -> Iterator[Markup]:
    drawn = []
    length, layout, coverage = found["length"], found.get("format"), found.get("coverage")
    if length:
        drawn.append(
            figure(
                plots.bars(
                    {"chosen": length["chosen"], "rejected": length["rejected"]}, f"mean length in {length['unit']}"
                ),
                "Mean length of both sides; a gap is a short cut that a reward model will take.",
            )
        )
    if layout:
        effects = {e["name"]: e["difference"] for e in layout["effects"] if e["chosen"] or e["rejected"]}
        if effects:
            drawn.append(
                figure(
                    plots.bars(
                        {name: 100 * d["estimate"] for name, d in effects.items()},
                        "chosen − rejected, percentage points",
                        {name: (100 * d["low"], 100 * d["high"]) for name, d in effects.items()},
                        0.0,
                    ),
                    "Markdown in chosen against rejected responses; right of the line, layout wins.",
                )
            )
    if coverage and len(coverage["clusters"]) > 1:
        top = {", ".join(c["terms"][:2]) or "(no words)": 100 * c["share"] for c in coverage["clusters"][:8]}
        drawn.append(
            figure(
                plots.bars(top, "% of the records"),
                f"The largest prompt clusters; as varied as {coverage['effective']:.1f} equally large ones.",
            )
        )
    if drawn:
        yield figures(*drawn)


def _bias(found: Found) -> Iterator[Row]:
    length, layout, apart, position = (found.get(name) for name in ("length", "format", "separability", "position"))
    if length:
        yield (f"chosen − rejected ({length['unit']})", *_estimate(length["difference"]))
        if length["longer"]:
            yield ("share of pairs whose chosen side is longer", *_estimate(length["longer"]))
    if found["baseline"]:
        yield ("held-out accuracy of length alone", *_estimate(found["baseline"]["accuracy"]))
    if layout:
        yield ("held-out accuracy of layout alone", *_estimate(layout["accuracy"]))
        yield ("what layout adds to length", *_estimate(layout["above_length"]))
    if apart:
        yield ("separability of chosen from rejected (AUC)", *_estimate(apart["auc"]))
        yield ("separability by length alone (AUC)", *_estimate(apart["length"]))
        if apart.get("cut"):
            yield ("separability by words at equal length (AUC)", *_estimate(apart["cut"]))
    if found["shown_first"]:
        yield ("share of winners shown first", *_estimate(found["shown_first"]))
    if position and position["stored"]:
        yield ("share of winners stored first", *_estimate(position["stored"]["first"]))
    if position and position["swapped"]:
        yield ("same verdict with sides exchanged", *_estimate(position["swapped"]))


def _noise(found: Found) -> Iterator[Row]:
    noise, cycles = found.get("label_noise"), found.get("cycles")
    if noise and noise["flipped"]:
        yield ("estimated share of flipped labels", *_estimate(noise["flipped"]))
    if noise:
        yield ("labels denied by confident models", *_estimate(noise["denied"]))
        if noise["reason"]:
            yield ("estimated share of flipped labels", "–", noise["reason"])
    if cycles:
        yield ("prompts with preference cycles", f"{cycles['cyclic']:,} of {cycles['prompts']:,}", "")
        if cycles["transitive"]:
            yield ("transitive triples", *_estimate(cycles["transitive"]))


def _agreement(found: Found) -> Iterator[Row]:
    agreed, scored = found["agreement"], found.get("score_agreement")
    if agreed:
        yield (f"agreement over {agreed['pairs']} repeated pairs (Krippendorff's α)", f"{agreed['alpha']:.3f}", "")
        if agreed.get("ordinal") is not None:
            yield ("the same for graded verdicts (ordinal α)", f"{agreed['ordinal']:.3f}", "")
        if agreed.get("kappa") is not None:
            yield ("the two annotators (Cohen's κ)", f"{agreed['kappa']:.3f}", "")
    if scored:
        yield (f"scores of {scored['responses']:,} responses scored again (ordinal α)", f"{scored['alpha']:.3f}", "")


def _leaks(found: Found) -> Iterator[Row]:
    for leak in found.get("leakage") or ():
        where = f"{leak['second']} in {leak['first']}"
        yield (f"prompts of {where}", *_estimate(leak["prompts"]))
        yield (f"prompts of {where}, nearly the same included", *_estimate(leak["near"]))
        yield (f"responses of {where}", *_estimate(leak["responses"]))


def _lists(found: Found) -> Iterator[Markup]:
    """What is worth opening: suspicious records, a cycle, annotators, clusters that say one side."""
    rows: list[tuple[object, ...]]
    noise, cycles, agreed, coverage = (found.get(k) for k in ("label_noise", "cycles", "agreement", "coverage"))
    apart = found.get("separability")
    if noise and noise["suspects"]:
        rows = [(s["source"], s["p"]) for s in noise["suspects"]]
        yield folded("Labels to look at first", table(("record", "probability of what the label says"), rows))
    if cycles and cycles["shortest"]:
        steps = cycles["shortest"]
        rows = list(zip(steps["responses"], steps["sources"], strict=True))
        title = f"A cycle: each beats the next, the last the first (prompt: {steps['prompt']})"
        yield folded(title, table(("response", "said at"), rows))
    if agreed and agreed.get("each"):
        rows = [(a["name"], a["judgements"], *_estimate(a["agreement"])) for a in agreed["each"][:10]]
        yield folded("Annotators against the rest", table(("annotator", "judgements", "agreement", ""), rows))
    if apart and apart.get("markers"):
        rows = [(m["word"], f"{m['chosen']:.1%}", f"{m['rejected']:.1%}") for m in apart["markers"]]
        words = ("word", "pairs with it in chosen alone", "in rejected alone")
        yield folded("Words that give a side away", table(words, rows))
    if coverage:
        rows = [(", ".join(c["terms"]), c["records"], c["longer"], c["sides"]) for c in coverage["clusters"]]
        header = ("prompt cluster", "records", "longer side wins", "one-sided")
        yield folded("What the prompts are about", table(header, rows))


def _estimate(value: Found) -> tuple[str, str]:
    return f"{value['estimate']:.3f}", interval(value["low"], value["high"])


def _summary(found: Found) -> str:
    bad = {name: found[name] for name in ("empty", "identical", "duplicates", "contradictions") if found[name]}
    state = "no defects found" if not bad else ", ".join(f"{n} {name}" for name, n in bad.items())
    text = f"{found['comparisons']:,} comparisons on {found['prompts']:,} prompts; {state}."
    if found["baseline"]:
        accuracy = found["baseline"]["accuracy"]
        text += f" Length alone predicts {100 * accuracy['estimate']:.1f} % of held-out choices."
    return text
