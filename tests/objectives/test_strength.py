"""ODPO (card 144): scores as margins."""

import math
from dataclasses import replace

import pytest
import torch

from guerdon.errors import GuerdonError
from guerdon.objectives import dpo, odpo
from tests.objectives.test_losses import T1, pair, value


def scored(winner: float, loser: float, **more: torch.Tensor):
    return replace(pair(*T1, **more), columns={"score": [winner, loser]})


def softplus(x: float) -> float:
    return math.log1p(math.exp(x))


def test_odpo_by_hand() -> None:
    """β h = .1, Δ = α·log(3 − 1)."""
    assert value(odpo(0.1, 1.0), scored(3.0, 1.0)) == pytest.approx(softplus(math.log(2) - 0.1), abs=1e-6)
    assert value(odpo(0.1, 0.5), scored(3.0, 1.0)) == pytest.approx(softplus(0.5 * math.log(2) - 0.1), abs=1e-6)
    assert value(odpo(0.1, 1.0), scored(2.0, 1.0)) == pytest.approx(0.644397, abs=1e-6)  # a gap of 1 asks for nothing


def test_odpo_without_strength_is_dpo() -> None:
    assert value(odpo(0.1, 0.0), scored(3.0, 1.0)) == pytest.approx(value(dpo(0.1), pair(*T1)), abs=1e-7)


def test_ties_and_inversions_count_as_the_least_gap() -> None:
    least = softplus(math.log(1e-3) - 0.1)
    for scores in ((1.0, 1.0), (1.0, 5.0)):
        assert value(odpo(), scored(*scores)) == pytest.approx(least, abs=1e-7)
    with pytest.raises(GuerdonError, match="above 0"):
        odpo(least=0.0)


def test_margins_of_pairs_are_not_counted_beside_scores() -> None:
    plain = value(odpo(), scored(3.0, 1.0))
    assert value(odpo(), scored(3.0, 1.0, margin=torch.tensor([7.0]))) == pytest.approx(plain, abs=1e-7)
