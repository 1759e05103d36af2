"""Gold against KL of every objective on pairs: ``python -m guerdon.lab.objective_frontiers`` measures and stores it.

On the ``finite`` lab, where both are exact: a method of the table (``training.methods``) with its paper's
hyperparameters is trained for long on the same pairs, and looked at as it goes. Three kinds of annotator: labels drawn
from gold, the same with a fifth of them flipped, and annotators who like length. What a response weighs by its tokens
is not seen here: a response is one step.
"""

import argparse
import json
import math
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch

from guerdon.batch import Pairs, Samples, Seed
from guerdon.errors import NeedsError
from guerdon.files import write_text
from guerdon.lab import finite as lab
from guerdon.lab.frontier import area_under, gold_at
from guerdon.lab.results import sources_hash, versions
from guerdon.lab.stats import paired_interval
from guerdon.objectives import Objective
from guerdon.training import Every, Optim, Recorded, methods, run
from guerdon.worlds import Frozen, Snapshots
from guerdon.worlds.finite import FiniteRows, FiniteWorld, LinearPolicy

COMMAND = "python -m guerdon.lab.objective_frontiers"
NAME = "objective-frontiers"
CONDITIONS: Mapping[str, Mapping[str, float]] = {"clean": {}, "flips": {"flip": 0.2}, "length": {"length": 0.5}}
SEEDS = tuple(range(10, 18))
KL_LIMIT = 2.0
GRID = tuple(KL_LIMIT * i / 16 for i in range(17))
PAIRS, ROUNDS, LOOK, RATE = 512, 160, 4, 0.05
SOURCES = ("guerdon.lab.objective_frontiers", "guerdon.lab.finite", "guerdon.objectives", "guerdon.training.methods")
READ = ("pairs", "steps.logp.policy", "steps.logp.reference", "columns.score")


def measurable() -> tuple[str, ...]:
    """Names of the methods that learn from pairs and log-probs alone."""
    found = []
    for preset in methods.presets():
        made = preset.called(preset.objective, preset.settings({}), 1)
        objective = made if isinstance(made, Objective) else made(0)
        if preset.reads in ("pairs", "scored") and not preset.records and set(objective.needs) <= set(READ):
            found.append(preset.name)
    return tuple(found)


def path(name: str, condition: str, seed: int, rounds: int = ROUNDS) -> list[tuple[float, float]]:
    """(KL, gold) of one method on one testbed after every ``LOOK`` updates, beginning with the start."""
    key = Seed(seed).child("frontiers")
    bed = lab.finite(key)
    compared = lab.compare(bed, PAIRS, key, **CONDITIONS[condition])
    preset = methods.find(name)
    settings = preset.settings({})
    rules = {"reference": Frozen(), **preset.called(preset.rules, settings, rounds)}
    snapshots = Snapshots(LinearPolicy(bed.features, base=bed.reference), **rules)
    seen = [lab.evaluate(bed, snapshots)]

    def look(_: Any) -> Mapping[str, float]:
        seen.append(lab.evaluate(bed, snapshots))
        return {}

    optim = Optim(lr=RATE, kind="adam", clip=None)
    run(
        preset.recipe(
            FiniteWorld(bed.features),
            snapshots,
            _source(bed, compared),
            rounds,
            optim=optim,
            evals=(Every(LOOK, look),),
        )
    )
    return [(max(0.0, p["kl"]), p["gold"]) for p in seen if math.isfinite(p["kl"]) and math.isfinite(p["gold"])]


def _source(bed: lab.Finite, compared: lab.Comparisons) -> Recorded:
    """All pairs at once, with gold as the rows' scores."""
    n = len(compared)
    rows = FiniteRows(compared.prompt.repeat(2), torch.cat([compared.winner, compared.loser]))
    over = torch.ones(2 * n, dtype=torch.bool)
    samples = Samples(rows, rows.prompt.tolist(), rows.response.tolist(), terminated=over, truncated=~over)
    scored = replace(samples, columns={"score": bed.gold[rows.prompt, rows.response].tolist()})
    at = torch.arange(n)
    return Recorded(scored, n, Pairs(at, at + n))


def measured(name: str, condition: str, seed: int, rounds: int = ROUNDS) -> dict[str, Any]:
    """One path as what is stored: gold at the KLs of ``GRID``, the area under it, and how far it came. A method that
    stops early keeps the gold it stopped at."""
    points = path(name, condition, seed, rounds)
    (_, start), reach = points[0], max(kl for kl, _ in points)
    up = [p for i, p in enumerate(points[1:], 1) if p[0] >= max(kl for kl, _ in points[:i])]
    return {
        "start": start,
        "area": area_under(up, start, KL_LIMIT) - start,
        "gold": [gold_at(up, start, kl) - start for kl in GRID],
        "reach": reach,
    }


def study(names: Sequence[str], seeds: Sequence[int], processes: int = 2, rounds: int = ROUNDS) -> dict[str, Any]:
    """Every method, condition and seed; what cannot be read on this lab is left out and said."""
    jobs = [(n, c, s) for n in names for c in CONDITIONS for s in seeds]
    found: dict[str, dict[str, list[Any]]] = {n: {c: [None] * len(seeds) for c in CONDITIONS} for n in names}
    os.environ["OMP_NUM_THREADS"] = "1"
    left: dict[str, str] = {}
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        waiting = {pool.submit(measured, *job, rounds): job for job in jobs}
        for i, done in enumerate(as_completed(waiting), 1):
            name, condition, seed = waiting[done]
            try:
                found[name][condition][list(seeds).index(seed)] = done.result()
            except NeedsError as error:
                left[name] = str(error)
            print(f"\r{i}/{len(jobs)} runs", end="", flush=True)
    print()
    kept = {n: x for n, x in found.items() if n not in left}
    return {"hash": sources_hash(SOURCES), "versions": versions(), "seeds": list(seeds), "left": left, "found": kept}


def areas(stored: Mapping[str, Any], name: str, condition: str) -> list[float]:
    """Gold above the start, averaged over KL in [0, KL_LIMIT], a number a seed."""
    return [x["area"] for x in stored["found"][name][condition]]


def against_dpo(stored: Mapping[str, Any], name: str, condition: str) -> tuple[float, float, float]:
    """(mean, low, high) of the paired difference of areas to DPO's, 95 %."""
    pairs = zip(areas(stored, name, condition), areas(stored, "dpo", condition), strict=True)
    interval = paired_interval([a - b for a, b in pairs])
    return interval.estimate, interval.low, interval.high


def stale(stored: Mapping[str, Any]) -> bool:
    """Whether the sources changed since."""
    return bool(stored["hash"] != sources_hash(SOURCES))


def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog=COMMAND, description="Gold against KL of every objective on pairs.")
    parser.add_argument("--processes", type=int, default=2, help="single-threaded processes side by side")
    parser.add_argument("--folder", type=Path, default=Path("results"), help="where the result is stored")
    parser.add_argument("--smoke", action="store_true", help="one seed and few updates; shows that it runs")
    given = parser.parse_args(arguments)
    if given.smoke:
        stored = study(("dpo", "ipo"), (10,), 1, 2 * LOOK)
    else:
        stored = study(measurable(), SEEDS, given.processes)
        write_text(given.folder / f"{NAME}.json", json.dumps(stored, indent=1) + "\n")
    for name in stored["found"]:
        print(f"{name:24s}", *(f"{c} {sum(areas(stored, name, c)) / len(stored['seeds']):+.3f}" for c in CONDITIONS))
    for name, why in stored["left"].items():
        print(f"left out: {name}: {why}")


if __name__ == "__main__":
    main()
