"""Entries as documentation pages: the table of verdicts, and one page an entry, made from entry and stored result."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from guerdon.catalogue.method import Method, entries
from guerdon.catalogue.verdicts import RESULTS, describe_experiment, table
from guerdon.lab.protocol import Claim, Experiment

INDEX = """# The catalogue and its verdicts

Made by `python -m guerdon.catalogue` from the stored results. `guerdon reproduce NAME` runs an experiment again,
`guerdon methods NAME` shows its claim, both arms and its caveat. A verdict needs at least 8 paired seeds; how it is
reached stands in [lab.md](lab.md). Verdicts that are not "reproduced" are published like any other.

{table}
"""

STALE = (
    "**This verdict is stale**: sources that the experiment names have changed since it ran. "
    "`guerdon reproduce {slug}` runs it again."
)

AGAIN = """```
guerdon methods {slug}
guerdon reproduce {slug} --smoke   # seconds; proves the plumbing and no claim
guerdon reproduce {slug}           # every seed, search and all
```"""


def index_page(folder: Path = RESULTS) -> str:
    """All verdicts as one Markdown page."""
    return INDEX.format(table=table(folder))


def entry_pages(folder: Path = RESULTS) -> Mapping[str, str]:
    """Slug -> Markdown page of every entry, in order of card number."""
    return {method.slug: entry_page(method, folder) for method in entries()}


def entry_page(method: Method, folder: Path = RESULTS) -> str:
    """One entry as Markdown: paper, composition, claim, experiment, verdict with its staleness, caveat."""
    parts = [
        f"# {method.slug}",
        f"**{method.title}**, {_paper(method.paper)}. Card {method.card}, family `{method.family}`.",
        method.essence,
        f"```python\n{method.composition}\n```",
        *_parts(method.experiment, method.slug, folder, "##"),
    ]
    for more in method.beside:
        parts += [f"## Beside it: {more.slug}", *_parts(more, method.slug, folder, "###")]
    parts += [
        f"**Caveat.** {method.caveat}" if method.caveat else "",
        "## Run it again",
        AGAIN.format(slug=method.slug),
        f"The entry is the module `{module_of(method)}`.",
    ]
    return "\n\n".join(p for p in parts if p) + "\n"


def _parts(experiment: Experiment, slug: str, folder: Path, level: str) -> list[str]:
    about = describe_experiment(experiment, folder)
    return [
        f"{level} Claim",
        f"{experiment.claim.statement}.",
        _claim(experiment.claim),
        f"{level} Verdict",
        f"**{_sentence(str(about['sentence']))}**",
        STALE.format(slug=slug) if about["verdict"] == "stale" else "",
        f"{level} Experiment",
        _experiment(experiment),
        _arms(about.get("arms", {}), experiment.claim.metric),
    ]


def module_of(method: Method) -> str:
    """The module an entry stands in."""
    return method.experiment.run.partition(":")[0]


def _paper(paper: str) -> str:
    """'Li et al. 2023, arXiv 2310.10505' with its number as a link."""
    before, arxiv, number = paper.partition("arXiv ")
    return f"{before}[arXiv {number}](https://arxiv.org/abs/{number})" if arxiv else paper


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}".rstrip(".") + "."


def _claim(claim: Claim) -> str:
    rows = {"kind": claim.kind, "metric": f"`{claim.metric}`, {claim.direction} is better"}
    if claim.compares:
        rows |= {"baseline": claim.baseline, "smallest effect that matters (δ)": f"{claim.smallest_effect:g}"}
    else:
        rows["check"] = claim.check
    return "\n".join(f"- {name}: {value}" for name, value in rows.items())


def _experiment(experiment: Experiment) -> str:
    seeds = experiment.reporting_seeds
    searched = len(experiment.configurations(experiment.method)) > 1
    grid = " and ".join(f"`{k}` in {', '.join(f'`{x}`' for x in v)}" for k, v in experiment.grid.items())
    search = f"Searched for both arms: {grid}" if searched else f"Nothing was searched{f' ({grid})' if grid else ''}"
    tuned = f"; tuned on {len(experiment.tuning_seeds)} others" if searched else ""
    sources = ", ".join(f"`{s}`" for s in experiment.sources)
    return (
        f"Budget: {experiment.budget}. {search}. Reported on {len(seeds)} seeds ({min(seeds)} to {max(seeds)}), "
        f"paired{tuned}. "
        f"The verdict is stale as soon as one of these sources changes: {sources}."
    )


def _arms(arms: Mapping[str, Any], metric: str) -> str:
    """Means over the reporting seeds; the claim's own metric first."""
    if not arms:
        return ""
    names = sorted({key for found in arms.values() for key in found}, key=lambda key: (key != metric, key))
    lines = ["Means over the reporting seeds:", "", f"| metric | {' | '.join(arms)} |", f"|---|{'---:|' * len(arms)}"]
    for name in names:
        cells = (f"{found[name]:.4g}" if name in found else "" for found in arms.values())
        lines.append(f"| `{name}` | {' | '.join(cells)} |")
    return "\n".join(lines)
