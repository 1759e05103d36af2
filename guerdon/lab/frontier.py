"""Gold against KL, so that a method is not called better for having moved less (or more).

Whatever shrinks a reward 'wins' at an equal coefficient. Sweep three or more coefficients on both sides, and compare
gold at equal KL, or the bounded area under the frontier up to a KL limit.
"""

from collections.abc import Sequence
from itertools import pairwise

from guerdon.errors import GuerdonError

Point = tuple[float, float]


def _frontier(points: Sequence[Point], start: float) -> list[Point]:
    """(0, start) and the points in order of KL; of several at one KL, their mean gold."""
    at: dict[float, list[float]] = {0.0: [start]}
    for kl, gold in points:
        if not kl >= 0:
            raise GuerdonError(f"A frontier point needs a KL of at least 0, but {kl} came.")
        if kl > 0:
            at.setdefault(kl, []).append(gold)
    return [(kl, sum(g) / len(g)) for kl, g in sorted(at.items())]


def gold_at(points: Sequence[Point], start: float, kl: float) -> float:
    """Gold at one KL by linear interpolation of (KL, gold) points and (0, start); flat beyond the last point."""
    line = _frontier(points, start)
    for (k0, g0), (k1, g1) in pairwise(line):
        if kl <= k1:
            return g0 + (g1 - g0) * (kl - k0) / (k1 - k0)
    return line[-1][1]


def area_under(points: Sequence[Point], start: float, limit: float) -> float:
    """Mean gold over KL in [0, limit] of the interpolated frontier, in gold's units; bounded wherever gold is."""
    if not limit > 0:
        raise GuerdonError(f"The KL limit of a frontier must be above 0, but {limit} came.")
    line = [p for p in _frontier(points, start) if p[0] < limit]
    line.append((limit, gold_at(points, start, limit)))
    pieces = pairwise(line)
    return sum((k1 - k0) * (g0 + g1) / 2 for (k0, g0), (k1, g1) in pieces) / limit


def frontier_metrics(points: Sequence[Point], start: float, limit: float) -> dict[str, float]:
    """What a sweep over coefficients reports for one arm and seed: 'area', 'gold_at_limit', 'reach' (largest KL).

    Raises GuerdonError below three points: fewer do not say how gold depends on KL.
    """
    if len(points) < 3:
        raise GuerdonError(f"Gold at matched KL needs a sweep of at least 3 coefficients, but {len(points)} came.")
    return {
        "area": area_under(points, start, limit),
        "gold_at_limit": gold_at(points, start, limit),
        "reach": max(kl for kl, _ in points),
    }
