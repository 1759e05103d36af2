"""Two rewards on the same pairs, near the training data and away from it: an explicit head against a policy's implicit
reward (Lin et al. 2024, 2409.03650)."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from guerdon.audit.intervals import Interval, bootstrap
from guerdon.errors import GuerdonError


@dataclass(frozen=True)
class ScoredPairs:
    """Scores of both sides of P pairs by two rewards, [P] each; lengths [P,2] of winner and loser, or None."""

    explicit_winner: Tensor
    explicit_loser: Tensor
    implicit_winner: Tensor
    implicit_loser: Tensor
    lengths: Tensor | None = None


@dataclass(frozen=True)
class Comparison:
    """On one set of pairs. explicit, implicit: accuracy (ties ½). gap: explicit − implicit, paired. each_length: both
    accuracies as the mean over pairs whose winner is longer and pairs whose winner is shorter, so that length alone
    gives ½; None without lengths or without pairs of both kinds."""

    explicit: Interval
    implicit: Interval
    gap: Interval
    each_length: tuple[float, float] | None


@dataclass(frozen=True)
class RewardComparison:
    """sets: by name, the first of them in distribution. explicit_drop, implicit_drop: accuracy of the first set minus
    that of each other one, by name."""

    sets: dict[str, Comparison]
    explicit_drop: dict[str, float]
    implicit_drop: dict[str, float]


def correct(winner: Tensor, loser: Tensor) -> Tensor:
    """[P] float64: 1 where the winner scores higher, ½ where both score the same, else 0."""
    return (winner > loser).double() + 0.5 * (winner == loser).double()


def accuracy(winner: Tensor, loser: Tensor) -> float:
    """Share of pairs ordered rightly, ties ½. It does not change under r → a·r + c(x), a > 0. Raises GuerdonError
    without a pair."""
    if not len(winner):
        raise GuerdonError("accuracy: at least one pair is needed, but none came.")
    return float(correct(winner, loser).mean())


def balanced_accuracy(winner: Tensor, loser: Tensor, lengths: Tensor) -> float | None:
    """Accuracy averaged over pairs with a longer and pairs with a shorter winner; lengths [P,2]. None where either kind
    is missing."""
    right = correct(winner, loser)
    longer, shorter = lengths[:, 0] > lengths[:, 1], lengths[:, 0] < lengths[:, 1]
    if not bool(longer.any()) or not bool(shorter.any()):
        return None
    return float((right[longer].mean() + right[shorter].mean()) / 2)


def compare_rewards(sets: Mapping[str, ScoredPairs], level: float = 0.95, seed: int = 0) -> RewardComparison:
    """Both rewards on every set, with bootstrap intervals over pairs; the first set is the in-distribution one.

    Rewards are compared by accuracy alone: their losses have different scales. Raises GuerdonError without a set, or
    for a set without pairs or with scores that are not finite.
    """
    if not sets:
        raise GuerdonError("compare_rewards: at least one set of pairs is needed, but none came.")
    found = {name: _compared(name, pairs, level, seed) for name, pairs in sets.items()}
    first, *others = found
    return RewardComparison(
        found,
        {name: found[first].explicit.estimate - found[name].explicit.estimate for name in others},
        {name: found[first].implicit.estimate - found[name].implicit.estimate for name in others},
    )


def _compared(name: str, pairs: ScoredPairs, level: float, seed: int) -> Comparison:
    sides = (pairs.explicit_winner, pairs.explicit_loser), (pairs.implicit_winner, pairs.implicit_loser)
    if not len(sides[0][0]) or not all(bool(torch.isfinite(x).all()) for side in sides for x in side):
        raise GuerdonError(f"compare_rewards: the set {name!r} must hold pairs with finite scores.")
    explicit, implicit = correct(*sides[0]), correct(*sides[1])
    each = None
    if pairs.lengths is not None:
        first, second = (balanced_accuracy(*side, pairs.lengths) for side in sides)
        each = None if first is None or second is None else (first, second)
    return Comparison(
        bootstrap(explicit, level=level, seed=seed),
        bootstrap(implicit, level=level, seed=seed),
        bootstrap(explicit - implicit, level=level, seed=seed),
        each,
    )
