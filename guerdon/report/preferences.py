"""The section on preference data, from ``audit.json``."""

from collections.abc import Mapping, Sequence
from typing import Any

from guerdon.report import plots
from guerdon.report.page import Markup, Section, figure, figures, heading, how_to_read, interval, join, table

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


def preferences_section(stored: Mapping[str, Any]) -> Section:
    """Counts, defects, length bias and agreement."""
    found = stored["audit"]
    examples = found.get("examples") or {}
    rows = [(name, found[name], meaning, lines(examples.get(name) or ())) for name, meaning in COUNTS]
    parts: list[Markup] = [
        table(("", "count", "what it is", "first found at line"), rows),
        how_to_read(
            "Anything but zero in the last four rows is worth a look before training: such records teach "
            "nothing or teach noise."
        ),
    ]
    length, baseline, agreement = found["length"], found["baseline"], found["agreement"]
    facts: list[tuple[str, str, str]] = []
    if length:
        unit = length["unit"]
        parts.append(
            figures(
                figure(
                    plots.bars({"chosen": length["chosen"], "rejected": length["rejected"]}, f"mean length in {unit}"),
                    "Mean length of both sides; a gap is a short cut that a reward model will take.",
                )
            )
        )
        facts.append((f"chosen − rejected ({unit})", *_estimate(length["difference"])))
        if length["longer"]:
            facts.append(("share of pairs whose chosen side is longer", *_estimate(length["longer"])))
    if baseline:
        facts.append(("held-out accuracy of length alone", *_estimate(baseline["accuracy"])))
    if agreement:
        facts.append(
            (f"agreement over {agreement['pairs']} repeated pairs (Krippendorff's α)", f"{agreement['alpha']:.3f}", "")
        )
    if found["shown_first"]:
        facts.append(("share of winners shown first", *_estimate(found["shown_first"])))
    parts += [heading("Length, order, agreement"), table(("", "estimate", "95 % interval"), facts)]
    parts.append(
        how_to_read(
            "A reward model must beat the accuracy of length alone; α is 1 for full agreement and 0 for chance."
        )
    )
    unknown = [f"{name.replace('_', ' ')}: {reason}" for name, reason in found["reasons"].items()]
    if unknown:
        parts.append(how_to_read("Not known – " + "; ".join(unknown) + "."))
    return Section("Preferences", join(parts), _summary(found))


def lines(sources: Sequence[str]) -> str:
    """Line numbers of 'file:line' sources."""
    return ", ".join(source.rpartition(":")[2] for source in sources)


def _estimate(value: Mapping[str, Any]) -> tuple[str, str]:
    return f"{value['estimate']:.3f}", interval(value["low"], value["high"])


def _summary(found: Mapping[str, Any]) -> str:
    bad = {name: found[name] for name in ("empty", "identical", "duplicates", "contradictions") if found[name]}
    state = "no defects found" if not bad else ", ".join(f"{n} {name}" for name, n in bad.items())
    text = f"{found['comparisons']:,} comparisons on {found['prompts']:,} prompts; {state}."
    if found["baseline"]:
        accuracy = found["baseline"]["accuracy"]
        text += f" Length alone predicts {100 * accuracy['estimate']:.1f} % of held-out choices."
    return text
