"""Stored results behind the verdicts: run an entry's experiment, read its verdict, print the table."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from guerdon.catalogue.method import Method, entries
from guerdon.lab.protocol import Experiment, run_experiment, verdict
from guerdon.lab.results import Result, load
from guerdon.lab.stats import Verdict, expected_by_chance
from guerdon.training.methods import Preset, presets

RESULTS = Path(__file__).parent / "results"
"""Stored results; they travel with the package, so that an installed guerdon shows its verdicts."""


def reproduce(
    method: Method, smoke: bool = False, folder: Path | None = None, processes: int = 2
) -> Mapping[str, Verdict]:
    """Run the method's experiments (or what is missing of them), store the results in ``folder``, by default with the
    package, and give the verdict of each by its slug.

    A smoke run takes seconds, goes to the working directory's ``results`` folder unless told otherwise, and gives no
    verdict on the claim.
    """
    target = folder or (Path("results") if smoke else RESULTS)
    # A smoke run is over before further processes have loaded their libraries.
    processes = 1 if smoke else processes
    return {e.slug: verdict(run_experiment(e, target, processes=processes, smoke=smoke)) for e in method.experiments}


def stored(experiment: Method | Experiment, folder: Path = RESULTS) -> Result | None:
    """The stored result of an experiment (of a method's main one), or None."""
    path = folder / f"{experiment.slug}.json"
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
    stored), and the same of the experiments beside it."""
    out: dict[str, Any] = {
        "slug": method.slug,
        "kind": "method",
        "card": method.card,
        "title": method.title,
        "paper": method.paper,
        "family": method.family,
        "essence": method.essence,
        "composition": method.composition,
        "caveat": method.caveat,
        "checks": list(method.checks or (c for p in presets() if p.card == method.card for c in p.checks)),
        **describe_experiment(method.experiment, folder),
    }
    if method.beside:
        out["beside"] = {e.slug: describe_experiment(e, folder) for e in method.beside}
    return out


def describe_experiment(experiment: Experiment, folder: Path = RESULTS) -> dict[str, Any]:
    """Its claim, its verdict, and the means of both arms where a result is stored."""
    result = stored(experiment, folder)
    found = None if result is None else verdict(result)
    claim = experiment.claim
    out: dict[str, Any] = {
        "claim": {
            "kind": claim.kind,
            "statement": claim.statement,
            "metric": claim.metric,
            "direction": claim.direction,
            "baseline": claim.baseline,
            "smallest_effect": claim.smallest_effect,
        },
        "verdict": "none" if found is None else found.status,
        "sentence": "no result is stored" if found is None else found.sentence,
    }
    if result is not None:
        out["arms"] = _arms(experiment, result)
        out["versions"] = dict(result.versions)
    return out


def _arms(experiment: Experiment, result: Result) -> Mapping[str, Mapping[str, float]]:
    """Mean of every metric per arm over the reporting seeds."""
    out: dict[str, dict[str, float]] = {}
    for arm in experiment.arms:
        runs = result.of("reporting", arm)
        keys = sorted({k for r in runs for k in r.metrics})
        out[arm] = {k: sum(float(r.metrics[k]) for r in runs if k in r.metrics) / max(1, len(runs)) for k in keys}
    return out


def table(folder: Path = RESULTS) -> str:
    """The verdicts as a Markdown table, with the number chance alone would give."""
    found = [(m.card, e) for m in entries() for e in m.experiments]
    lines = ["| card | method | claim | verdict |", "|---|---|---|---|"]
    for card, experiment in found:
        sentence = describe_experiment(experiment, folder)["sentence"]
        lines.append(f"| {card} | `{experiment.slug}` | {experiment.claim.statement} | {sentence} |")
    effects = sum(e.claim.kind == "effect" for _, e in found)
    chance = expected_by_chance(effects)
    lines += ["", f"Of {effects} claims of an effect, chance alone would call at most {chance:.2g} 'reproduced'."]
    return "\n".join(lines)
