"""docs/choosing-an-objective.md: what every method needs, costs, guards against, and what the lab saw of it."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from guerdon.catalogue.method import entries
from guerdon.catalogue.verdicts import RESULTS, describe
from guerdon.lab import objective_frontiers as lab
from guerdon.lab.svg import COLOURS, INK, drawn
from guerdon.training import methods
from guerdon.training.methods import Preset

PAGE = """# Choosing an objective

Made by `python -m guerdon.catalogue` from the table of methods, the catalogue's verdicts and two measurements. Every
method runs by `guerdon align PREFS --method NAME`; its hyperparameters are set by `--set hyper.NAME=…`, and
`guerdon methods NAME` lists them.

Begin with `dpo`. Then ask what is wrong with your data or your run. These were published against it; whether our own
runs saw the effect stands in the last column below:

{advice}

## The methods

*Needs*: what is read beside the policy's own log-probs. *Cost*: time of an update relative to DPO's on the same pairs,
reference cached ({cost}).
*Verdict*: of the method's own entry in the [catalogue](catalogue.md), where it has one.

{offline}

### Methods that sample

{online}

## Gold against KL

{frontiers}
"""

ADVICE: Mapping[str, Sequence[str]] = {
    "labels are noisy": ("robust-dpo", "cdpo", "ipo"),
    "responses grow longer": ("ld-dpo", "simpo", "r-dpo", "sampo"),
    "the chosen responses become less likely": ("dpo-shift", "rpo", "dpop"),
    "there are labels, but no pairs": ("kto", "bco"),
    "there are several responses to a prompt": ("pl-dpo", "lipo", "tpo-tree"),
    "pairs carry a strength or scores": ("odpo", "ra-dpo", "modpo"),
    "no second model fits into memory": ("simpo", "orpo", "cpo"),
    "the policy leaves the data behind": ("vpo", "rpo", "chi-po"),
    "preferences are cyclic": ("sppo", "dno", "nash-md"),
    "a reward or judge is at hand": ("online-dpo", "selm", "xpo"),
}

FRONTIERS = """Measured on the lab's [`finite` testbed](lab.md), where gold and KL are exact: {pairs} pairs, the paper's
hyperparameters, {updates} updates, {seeds} seeds. Each method trains through a whole range of KL; what is compared is
gold above the start, averaged over KL up to {limit:g} nats. In brackets the 95 % interval of the paired difference to
DPO, where it leaves out 0. Three kinds of annotator: labels drawn from gold, the same with 20 % of them flipped, and
annotators who like length. A response is one step here: what a method does to tokens and lengths is not seen. The
hyperparameters were published for long responses of large models, so that a low line is no verdict on a method.
DiscoPOP's loss rises at a margin of 0, where every run starts (`tests/objectives/test_links.py`).{stale}

![Gold above the start against KL, a line a method](choosing-an-objective.svg)

{table}

Remade by `{command}` and then `python -m guerdon.catalogue`.
"""


def page(costs: Mapping[str, Any] | None, frontiers: Mapping[str, Any] | None, results: Path = RESULTS) -> str:
    """The page. costs: what ``benchmarks/results/direct.json`` holds, frontiers: ``objective_frontiers.study``."""
    verdicts = {m.card: (m.slug, str(describe(m, results)["verdict"])) for m in entries()}
    found = methods.presets()
    return PAGE.format(
        cost="`python -m benchmarks direct`" + ("" if costs else ", not measured yet"),
        advice=_advice({p.name for p in found}),
        offline=_table([p for p in found if not p.online], verdicts, costs),
        online=_table([p for p in found if p.online], verdicts, None),
        frontiers="Not measured yet." if frontiers is None else _frontiers(frontiers),
    )


def _advice(known: set[str]) -> str:
    return "\n".join(
        f"- {wrong}: {', '.join(f'`{n}`' for n in names if n in known)}"
        for wrong, names in ADVICE.items()
        if known & set(names)
    )


def _table(presets: Sequence[Preset], verdicts: Mapping[int, tuple[str, str]], costs: Mapping[str, Any] | None) -> str:
    head = ["method", "needs", *(["cost"] if costs else []), "protects against", "verdict"]
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    for p in presets:
        slug, verdict = verdicts.get(p.card, ("", "–")) if p.card is not None else ("", "–")
        told = f"[{verdict}](catalogue.md)" if slug else verdict
        cost = [] if not costs else [f"{costs['methods'][p.name]['cost']:.2f}" if p.name in costs["methods"] else "–"]
        lines.append(f"| {' | '.join([f'`{p.name}`', _needs(p), *cost, p.protects or '–', told])} |")
    return "\n".join(lines)


_READS = {
    "pairs": "pairs",
    "scored": "pairs with scores",
    "lists": "rated lists",
    "unpaired": "labelled responses",
    "rewritten": "pairs and their rewritings",
    "prompts": "prompts",
}


def _needs(preset: Preset) -> str:
    rules = preset.called(preset.rules, preset.settings({}), 10)
    others = [{"guide": "a guiding policy", "reward": "a reward"}[n] for n in preset.needs]
    return ", ".join([_READS[preset.reads], *(["reference"] if "reference" in rules else []), *others])


def _frontiers(stored: Mapping[str, Any]) -> str:
    rows = sorted(stored["found"], key=lambda n: -_mean(lab.areas(stored, n, "clean")))
    lines = ["| method | clean labels | 20 % flipped | length-loving |", "|---|---|---|---|"]
    for name in rows:
        lines.append(f"| `{name}` | {' | '.join(_cell(stored, name, c) for c in lab.CONDITIONS)} |")
    lines += [f"| `{name}` | not on this lab | | |" for name in stored["left"]]
    return FRONTIERS.format(
        pairs=lab.PAIRS,
        updates=lab.ROUNDS,
        seeds=len(stored["seeds"]),
        limit=lab.KL_LIMIT,
        stale=" **Stale: the sources have changed since.**" if lab.stale(stored) else "",
        table="\n".join(lines),
        command=lab.COMMAND,
    )


def _cell(stored: Mapping[str, Any], name: str, condition: str) -> str:
    area = _mean(lab.areas(stored, name, condition))
    if name == "dpo":
        return f"{area:.3f}"
    _, low, high = lab.against_dpo(stored, name, condition)
    return f"{area:.3f}" + (f" [{low:+.3f}, {high:+.3f}]" if low > 0 or high < 0 else "")


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def figure(stored: Mapping[str, Any], most: int = 7) -> str:
    """Gold above the start against KL, a panel a condition: all methods thin, DPO and the best six named."""
    names = list(stored["found"])
    overall = {n: _mean([_mean(lab.areas(stored, n, c)) for c in lab.CONDITIONS]) for n in names}
    named = ["dpo", *[n for n in sorted(names, key=lambda n: -overall[n]) if n != "dpo"][: most - 1]]

    def draw(whole: Any) -> None:
        panels = whole.subplots(1, len(lab.CONDITIONS), sharey=True)
        for panel, condition in zip(panels, lab.CONDITIONS, strict=True):
            for name in names:
                runs = stored["found"][name][condition]
                line = [_mean([r["gold"][i] for r in runs]) for i in range(len(lab.GRID))]
                shown = name in named
                colour = COLOURS[named.index(name) % len(COLOURS)] if shown else INK
                panel.plot(lab.GRID, line, color=colour, linewidth=1.6 if shown else 0.5, label=name if shown else None)
            panel.set(xlabel="KL (nats)", title=condition)
        panels[0].set(ylabel="gold above the start")
        panels[-1].legend(fontsize=8)

    return drawn((9.6, 3.6), draw)


def stored_json(path: Path) -> Mapping[str, Any] | None:
    """A stored measurement, or None."""
    if not path.exists():
        return None
    found: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found
