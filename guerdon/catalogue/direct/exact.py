"""What entries on the ``finite`` lab measure: exact gold against exact KL of objectives on labelled pairs."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from guerdon.batch import Seed
from guerdon.lab import finite as lab
from guerdon.lab.frontier import frontier_metrics
from guerdon.objectives import Objective
from guerdon.training.recipe import Recipe
from guerdon.training.run import run

Point = Callable[[lab.Finite, lab.Comparisons], Recipe]
"""From a testbed and its pairs to one run: one point of an arm's frontier."""


@dataclass(frozen=True)
class Annotator:
    """Who labelled: pairs, their share of flipped labels, the weight of length in their taste, what they cover."""

    pairs: int = 512
    flip: float = 0.0
    length: float = 0.0
    coverage: float = 1.0


def trained(objective: Objective, lr: float = 0.05, rounds: int = 100) -> Point:
    """A point that trains one objective on all pairs at once."""
    return lambda bed, compared: lab.offline(bed, compared, objective, lr, rounds)


def exact_frontier(
    points: Sequence[Point], seed: int, limit: float, annotator: Annotator | None = None, smoke: bool = False
) -> Mapping[str, float]:
    """Run every point on one testbed's pairs and read the frontier of its (KL, gold), both exact.

    Gives 'area' (mean gold over KL in [0, limit] nats), 'gold_at_limit', 'reach', the means of gold and KL over the
    points, and 'start', gold before training. A smoke run has few pairs and three points.
    """
    who = annotator or Annotator()
    key = Seed(seed).child("catalogue")
    bed = lab.finite(key, prompts=4, responses=16) if smoke else lab.finite(key)
    compared = lab.compare(bed, 32 if smoke else who.pairs, key, who.flip, who.length, who.coverage)
    found = []
    for point in points[:3] if smoke else points:
        recipe = point(bed, compared)
        run(recipe.with_(rounds=2) if smoke else recipe)
        found.append(lab.evaluate(bed, recipe.snapshots))
    metrics = frontier_metrics([(p["kl"], p["gold"]) for p in found], bed.start, limit)
    means = {f"mean_{k}": sum(p[k] for p in found) / len(found) for k in ("gold", "kl")}
    return {**metrics, **means, "start": bed.start}
