"""ORPO (card 144) and ASFT (card 189) by hand, and at the ends of the likelihood."""

import math

import pytest
import torch
from torch import Tensor

from guerdon.objectives import Objective, asft, orpo, sft
from guerdon.objectives.odds import CEILING, log_odds
from tests.objectives.test_losses import pair, value

HALF, QUARTER = math.log(0.5), math.log(0.25)


def slopes(objective: Objective, winner: float, loser: float) -> list[float]:
    batch = pair([winner, loser])
    (found,) = torch.autograd.grad(objective.loss(batch).value, batch.steps.logp["policy"])
    return found[:, 0].tolist()


def test_orpo_by_hand() -> None:
    """p = ½ and ¼ a step: odds 1 and ⅓, so the ratio is 3 and −log σ(log 3) = log(4/3)."""
    batch = pair([2 * HALF, 4 * QUARTER], lengths=(2, 4))
    assert value(orpo(0.1), batch) == pytest.approx(math.log(2) + 0.1 * math.log(4 / 3), abs=1e-6)
    assert value(orpo(0.0), batch) == pytest.approx(value(sft("winner"), batch), abs=1e-7)


def test_asft_by_hand() -> None:
    """Card 189: p_w = .5, p_l = .25 give L_align = 0.980829 and L = 1.673976; the lengths do not matter."""
    for lengths in ((1, 1), (2, 4)):
        batch = pair([lengths[0] * HALF, lengths[1] * QUARTER], lengths=lengths)
        assert value(asft(), batch) == pytest.approx(1.673976, abs=1e-6)
        assert value(asft(), batch) - value(asft(0.0), batch) == pytest.approx(0.980829, abs=1e-6)


def test_asft_is_two_likelihoods() -> None:
    """−log σ(f_w) − log σ(−f_l) is −log p_w − log(1 − p_l), to 1e-6 over the whole range."""
    for winner, loser in ((-0.01, -5.0), (-3.0, -0.2), (-30.0, -40.0), (-0.7, -0.7)):
        expected = -2 * winner - math.log(-math.expm1(loser))
        assert value(asft(), pair([winner, loser])) == pytest.approx(expected, rel=1e-6)


def test_asft_without_its_weight_is_sft() -> None:
    batch = pair([-1.0, -2.0], lengths=(2, 2))
    assert value(asft(0.0), batch) == pytest.approx(value(sft("winner"), batch), abs=1e-7)


def test_asft_lets_go_of_unlikely_losers() -> None:
    """∂/∂log p_w = −(1 + λ) whatever the margin; ∂/∂log p_l = p_l/(1 − p_l), which fades: the loser is not crushed."""
    for loser in (-0.5, -2.0, -10.0, -100.0):
        p = math.exp(loser)
        assert slopes(asft(), -1.0, loser) == pytest.approx([-2.0, p / (1 - p)], rel=1e-5, abs=1e-30)
    assert slopes(asft(3.0), -9.0, -100.0)[0] == pytest.approx(-4.0, rel=1e-6)


def test_beta_breaks_the_identity() -> None:
    assert value(asft(beta=2.0), pair([HALF, QUARTER])) != pytest.approx(1.673976, abs=1e-2)


def test_log_odds_keep_their_digits_at_both_ends() -> None:
    for z in (-1e-5, -1e-3, -0.5, -math.log(2), -3.0, -50.0, -1e4):
        exact = z - math.log(-math.expm1(z))
        assert log_odds(torch.tensor(z, dtype=torch.float64), 1).item() == pytest.approx(exact, rel=1e-12)
        assert log_odds(torch.tensor(z), 1).item() == pytest.approx(exact, rel=1e-5, abs=1e-6)


def test_certainty_is_finite() -> None:
    """At p = 1 the odds are infinite; they are held, value and gradient."""
    z: Tensor = torch.tensor([0.0, CEILING / 2], requires_grad=True)
    odds = log_odds(z, 1)
    (slope,) = torch.autograd.grad(odds.sum(), z)
    assert odds.tolist() == pytest.approx([-math.log(-math.expm1(CEILING)) + CEILING] * 2, rel=1e-5)
    assert slope.tolist() == [0.0, 0.0]
    assert math.isfinite(value(asft(), pair([0.0, 0.0]))) and math.isfinite(value(orpo(), pair([0.0, 0.0])))
