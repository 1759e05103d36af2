"""Losses of both sides' levels (card 144): hand values, slopes, soft labels."""

from __future__ import annotations

import math

import pytest
import torch

from guerdon.objectives import apo_down, apo_zero, cal_dpo, dpo, dpop, log_ratio, nca, of_sides, pairwise
from tests.objectives.levels import of_pairs, slopes, t1, value


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def test_sides_by_hand():
    """ρ = ±½, β = 0.2: z = ±0.1."""
    low, high = math.log1p(math.exp(-0.1)), math.log1p(math.exp(0.1))
    assert value(nca(0.2), t1()) == pytest.approx(low + 0.5 * high + 0.5 * low, abs=1e-12)
    assert value(apo_zero(0.2), t1()) == pytest.approx(2 * sigmoid(-0.1), abs=1e-12)
    assert value(apo_down(0.2), t1()) == pytest.approx(sigmoid(0.1) + sigmoid(-0.2), abs=1e-12)


def test_at_the_reference_nothing_is_known():
    start = of_pairs([0.0], [0.0])
    assert value(nca(), start) == pytest.approx(2 * math.log(2), abs=1e-12)
    assert value(apo_zero(), start) == pytest.approx(1.0, abs=1e-12)
    assert value(apo_down(), start) == pytest.approx(1.0, abs=1e-12)
    assert value(dpop(), start) == pytest.approx(math.log(2), abs=1e-12)


def test_apo_zero_raises_the_winner_and_lowers_the_loser():
    s = sigmoid(0.1)
    assert slopes(apo_zero(0.2), t1()) == pytest.approx([-0.2 * s * (1 - s), 0.2 * s * (1 - s)], abs=1e-12)


@pytest.mark.parametrize("won", [-2.0, -0.4, 0.3, 1.7])
@pytest.mark.parametrize("lost", [-1.1, 0.1, 0.9, 3.0])
def test_apo_down_lowers_the_winner_exactly_where_the_card_says(won, lost):
    """d/dlog π(y_w) > 0 exactly where |ρ_w| < |h|; the loser falls always."""
    winner, loser = slopes(apo_down(0.5), of_pairs([won], [lost]))
    assert (winner > 0) == (abs(won) < abs(won - lost))
    assert loser > 0


def test_dpop_by_hand():
    """The winner is above the reference: DPO. 0.2 nats below it: λ·0.2 is taken off inside the sigmoid."""
    assert value(dpop(0.1, 50.0), t1()) == pytest.approx(value(dpo(0.1), t1()), abs=1e-12)
    below = of_pairs([-0.2], [-1.0])
    assert value(dpop(0.1, 50.0), below) == pytest.approx(math.log1p(math.exp(-0.1 * (0.8 - 10.0))), abs=1e-12)
    assert slopes(dpop(0.1, 50.0), below)[0] == pytest.approx(-0.1 * 51 * sigmoid(0.1 * 9.2), abs=1e-12)


def test_dpop_raises_a_fallen_winner_more_than_dpo_does():
    below = of_pairs([-3.0], [-9.0])
    assert slopes(dpop(0.1), below)[0] < 10 * slopes(dpo(0.1), below)[0] < 0


def test_cal_dpo_by_hand():
    """Targets ±5 at β = 0.1; the logistic part has no β."""
    hand = math.log1p(math.exp(-1)) + 2 * 4.5**2
    assert value(cal_dpo(0.1), t1()) == pytest.approx(hand, abs=1e-12)
    met = slopes(cal_dpo(0.1), of_pairs([5.0], [-5.0]))
    assert met == pytest.approx([-sigmoid(-10), sigmoid(-10)], abs=1e-12)  # calibration is silent at its target


def test_soft_labels_swap_the_sides():
    for objective in (nca(0.4), apo_zero(0.4), apo_down(0.4), cal_dpo(0.4)):
        never = of_pairs([0.5], [-0.7], preferred=torch.tensor([0.0]))
        flipped = value(objective, of_pairs([-0.7], [0.5]))
        assert value(objective, never) == pytest.approx(flipped, abs=1e-6)
        half = of_pairs([0.5], [-0.7], preferred=torch.tensor([0.5]))
        mean = 0.5 * (flipped + value(objective, of_pairs([0.5], [-0.7])))
        assert value(objective, half) == pytest.approx(mean, abs=1e-6)


def test_a_loss_of_both_sides_of_ones_own():
    objective = pairwise(log_ratio(), of_sides(lambda w, l: 2 * w + 3 * l))
    assert value(objective, t1()) == pytest.approx(-0.5, abs=1e-12)


def test_parts_of_cal_dpo_are_shown():
    parts = cal_dpo(0.1).loss(t1()).parts
    assert float(parts["cal_dpo"]) == pytest.approx(math.log1p(math.exp(-1)), abs=1e-12)
    assert float(parts["calibration"]) == pytest.approx(40.5, abs=1e-12)
