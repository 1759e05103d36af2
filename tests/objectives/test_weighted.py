"""WPO (card 144): how likely the policy would have written a pair."""

import math

import pytest
import torch

from guerdon.batch import Batch, Pairs, Steps
from guerdon.errors import GuerdonError
from guerdon.objectives import dpo, pairwise, wpo
from guerdon.objectives.pairwise import logistic
from guerdon.objectives.scores import log_ratio, scaled


def batch(collision: tuple[float, float], policy: tuple[float, float] = (-1.0, -2.0)) -> Batch:
    """T1 with a second, masked step of rubbish."""
    nan = math.nan
    logp = {
        "policy": torch.tensor([[policy[0], nan], [policy[1], nan]]).requires_grad_(),
        "reference": torch.tensor([[-1.5, nan], [-1.5, nan]]),
    }
    stats = {"collision": torch.tensor([[collision[0], nan], [collision[1], nan]]).requires_grad_()}
    mask = torch.tensor([[True, False]] * 2)
    return Batch(Steps(mask, logp, stats), pairs=Pairs(torch.tensor([0]), torch.tensor([1])))


def test_wpo_by_hand() -> None:
    """w(y_w) = e^(−1 + 1.2), w(y_l) = e^(−2 + 1.5): the pair counts e^−0.3."""
    assert wpo(0.1).loss(batch((-1.2, -1.5))).value.item() == pytest.approx(math.exp(-0.3) * 0.644397, abs=1e-6)


def test_the_product_is_cut() -> None:
    likely = batch((-3.0, -3.0))  # e^2 · e^1
    assert wpo(0.1).loss(likely).value.item() == pytest.approx(0.644397, abs=1e-6)
    free = wpo(0.1, most=math.inf).loss(likely).value.item()
    assert free == pytest.approx(math.exp(3.0) * 0.644397, rel=1e-6)
    with pytest.raises(GuerdonError, match="above 0"):
        wpo(most=0.0)


def test_weights_are_constants() -> None:
    """The gradient is DPO's times the weight: raising log π(y_w) to count more is no way out."""
    here = batch((-1.2, -1.5))
    loss = wpo(0.1).loss(here).value
    slope, none = torch.autograd.grad(
        loss, [here.steps.logp["policy"], here.steps.stats["collision"]], allow_unused=True
    )
    fixed = pairwise(scaled(0.1, log_ratio()), logistic(), weight=lambda b, p: torch.tensor([math.exp(-0.3)]))
    (expected,) = torch.autograd.grad(fixed.loss(here).value, here.steps.logp["policy"])
    torch.testing.assert_close(slope, expected)
    assert none is None


def test_the_weight_is_a_mean_over_steps() -> None:
    """Two steps of e^−0.1 and e^−0.5 on each side: the pair counts e^−0.6, not e^−1.2."""
    logp = {"policy": torch.full((2, 2), -1.0), "reference": torch.full((2, 2), -1.0)}
    stats = {"collision": torch.tensor([[-0.9, -0.5], [-0.9, -0.5]])}
    mask = torch.ones(2, 2, dtype=torch.bool)
    here = Batch(Steps(mask, logp, stats), pairs=Pairs(torch.tensor([0]), torch.tensor([1])))
    assert wpo().loss(here).value.item() == pytest.approx(math.exp(-0.6) * math.log(2), abs=1e-6)


def test_off_policy_pairs_count_less() -> None:
    near, far = batch((-1.2, -1.5)), batch((-1.2, -1.5), policy=(-6.0, -7.0))
    ratio = [wpo(0.1).loss(b).value.item() / dpo(0.1).loss(b).value.item() for b in (near, far)]
    assert ratio[1] < 1e-3 < ratio[0]
