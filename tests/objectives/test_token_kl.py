"""TDPO (card 144), both forms."""

import math

import pytest
import torch

from guerdon.batch import Batch, Pairs, Steps
from guerdon.objectives import dpo, tdpo, tdpo1


def batch(winner: float = 0.3, loser: float = 0.4) -> Batch:
    """T1 with a divergence along each side, and rubbish under the mask."""
    nan = math.nan
    logp = {
        "policy": torch.tensor([[-1.0, nan], [-2.0, nan]]).requires_grad_(),
        "reference": torch.tensor([[-1.5, nan], [-1.5, nan]]),
    }
    stats = {"kl:reference": torch.tensor([[winner, nan], [loser, nan]]).requires_grad_()}
    mask = torch.tensor([[True, False]] * 2)
    return Batch(Steps(mask, logp, stats), pairs=Pairs(torch.tensor([0]), torch.tensor([1])))


def softplus(x: float) -> float:
    return math.log1p(math.exp(x))


def drift_slopes(objective, here: Batch) -> list[float]:
    (found,) = torch.autograd.grad(objective.loss(here).value, here.steps.stats["kl:reference"])
    return found[:, 0].tolist()


def test_tdpo_by_hand() -> None:
    """β(h − α(D_l − D_w)) = .1·(1 − .5·.1)."""
    assert tdpo(0.1, 0.5).loss(batch()).value.item() == pytest.approx(softplus(-0.095), abs=1e-6)


def test_tdpo1_by_hand() -> None:
    """β(h − (D_l − D_w)) = .1·(1 − .1), and both divergences are trained."""
    assert tdpo1(0.1).loss(batch()).value.item() == pytest.approx(softplus(-0.09), abs=1e-6)
    push = 0.1 / (1 + math.exp(0.09))
    assert drift_slopes(tdpo1(0.1), batch()) == pytest.approx([-push, push], abs=1e-7)


def test_the_chosen_drift_is_a_constant() -> None:
    """Only the rejected side's divergence is held down."""
    push = 0.1 * 0.5 / (1 + math.exp(0.095))
    assert drift_slopes(tdpo(0.1, 0.5), batch()) == pytest.approx([0.0, push], abs=1e-7)


def test_drift_is_a_sum_over_steps() -> None:
    logp = {"policy": torch.full((2, 2), -1.0), "reference": torch.full((2, 2), -1.0)}
    stats = {"kl:reference": torch.tensor([[0.1, 0.1], [0.3, 0.5]])}
    mask = torch.ones(2, 2, dtype=torch.bool)
    here = Batch(Steps(mask, logp, stats), pairs=Pairs(torch.tensor([0]), torch.tensor([1])))
    assert tdpo(1.0, 1.0).loss(here).value.item() == pytest.approx(softplus(0.6), abs=1e-6)


def test_without_alpha_it_is_dpo() -> None:
    assert tdpo(0.1, 0.0).loss(batch()).value.item() == pytest.approx(dpo(0.1).loss(batch()).value.item(), abs=1e-7)
    assert "steps.stats.kl:reference" in tdpo().needs
    assert "steps.stats.forward" in tdpo(drift="forward").needs
