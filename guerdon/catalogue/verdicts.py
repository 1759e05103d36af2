"""Stored results behind the verdicts: run an entry's experiment, read its verdict, print the table."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from guerdon.catalogue.method import Method, entries
from guerdon.lab.protocol import run_experiment, verdict
from guerdon.lab.results import Result, load
from guerdon.lab.stats import Verdict, expected_by_chance
from guerdon.training.methods import Preset, presets

RESULTS = Path(__file__).parent / "results"
"""Stored results; they travel with the package, so that an installed guerdon shows its verdicts."""


def reproduce(method: Method, smoke: bool = False, folder: Path | None = None, processes: int = 2) -> Verdict:
    """Run the experiment (or what is missing of it) and store the result in ``folder``, by default with the package.

    A smoke run takes seconds, goes to the working directory's ``results`` folder unless told otherwise, and gives no
    verdict on the claim.
    """
    target = folder or (Path("results") if smoke else RESULTS)
    # A smoke run is over before further processes have loaded their libraries.
    return verdict(run_experiment(method.experiment, target, processes=1 if smoke else processes, smoke=smoke))


def stored(method: Method, folder: Path = RESULTS) -> Result | None:
    """The stored result, or None."""
    path = folder / f"{method.slug}.json"
    return load(path) if path.exists() else None


def describe_preset(preset: Preset) -> dict[str, Any]:
    """What is known of a preset that has no entry: paper, what it reads, hyperparameters with defaults, checks."""
    return {
        "slug": preset.name,
        "kind": "preset",
        "paper": preset.paper,
        "family": "online" if preset.online else "direct",
        "reads": preset.reads,
        "hyper": preset.hyper(),
        "needs": list(preset.needs),
        "protects": preset.protects,
        "checks": list(preset.checks),
    }


def describe(method: Method, folder: Path = RESULTS) -> dict[str, Any]:
    """Everything known of an entry as plain data: card, claim, composition, verdict ('none' where nothing is
    stored)."""
    result = stored(method, folder)
    found = None if result is None else verdict(result)
    claim = method.claim
    out: dict[str, Any] = {
        "slug": method.slug,
        "kind": "method",
        "card": method.card,
        "title": method.title,
        "paper": method.paper,
        "family": method.family,
        "essence": method.essence,
        "composition": method.composition,
        "claim": {
            "kind": claim.kind,
            "statement": claim.statement,
            "metric": claim.metric,
            "direction": claim.direction,
            "baseline": claim.baseline,
            "smallest_effect": claim.smallest_effect,
        },
        "caveat": method.caveat,
        "checks": list(method.checks or (c for p in presets() if p.card == method.card for c in p.checks)),
        "verdict": "none" if found is None else found.status,
        "sentence": "no result is stored" if found is None else found.sentence,
    }
    if result is not None:
        out["arms"] = _arms(method, result)
        out["versions"] = dict(result.versions)
    return out


def _arms(method: Method, result: Result) -> Mapping[str, Mapping[str, float]]:
    """Mean of every metric per arm over the reporting seeds."""
    out: dict[str, dict[str, float]] = {}
    for arm in method.experiment.arms:
        runs = result.of("reporting", arm)
        keys = sorted({k for r in runs for k in r.metrics})
        out[arm] = {k: sum(float(r.metrics[k]) for r in runs if k in r.metrics) / max(1, len(runs)) for k in keys}
    return out


def table(folder: Path = RESULTS) -> str:
    """The verdicts as a Markdown table, with the number chance alone would give."""
    methods = entries()
    lines = ["| card | method | claim | verdict |", "|---|---|---|---|"]
    for method in methods:
        about = describe(method, folder)
        lines.append(f"| {method.card} | `{method.slug}` | {method.claim.statement} | {about['sentence']} |")
    effects = sum(m.claim.kind == "effect" for m in methods)
    chance = expected_by_chance(effects)
    lines += ["", f"Of {effects} claims of an effect, chance alone would call at most {chance:.2g} 'reproduced'."]
    return "\n".join(lines)
