"""DPO^γ (card 178) by hand."""

import math

import pytest
import torch

from guerdon.batch import Batch, Pairs, Steps
from guerdon.objectives import dpo, dpo_gamma


def one_pair(policy=(-1.0, -2.0), reference=(-3.0, -1.0)) -> Batch:
    """A pair that the reference ranks wrongly by 2 nats."""
    logp = {"policy": torch.tensor(policy)[:, None], "reference": torch.tensor(reference)[:, None]}
    return Batch(Steps(torch.ones(2, 1, dtype=torch.bool), logp), pairs=Pairs(torch.tensor([0]), torch.tensor([1])))


def value(objective, batch: Batch) -> float:
    return objective.loss(batch).value.item()


@pytest.mark.parametrize("gamma", [0.0, 0.25, 1.0, 2.0])
def test_by_hand(gamma: float) -> None:
    """The policy's gap is 1, the reference's −2: −log σ(0.1·(1 + 2γ))."""
    assert value(dpo_gamma(0.1, gamma), one_pair()) == pytest.approx(
        math.log1p(math.exp(-0.1 * (1 + 2 * gamma))), abs=1e-6
    )


def test_one_is_dpo_and_nought_needs_no_reference() -> None:
    assert value(dpo_gamma(0.3, 1.0), one_pair()) == pytest.approx(value(dpo(0.3), one_pair()), abs=1e-7)
    assert dpo_gamma(gamma=0.0).needs == ("pairs", "steps.logp.policy")
    assert dpo_gamma(gamma=0.5).needs == ("pairs", "steps.logp.policy", "steps.logp.reference")


def test_without_reference_a_low_loss_means_a_right_ranking() -> None:
    """Below log 2 the policy itself ranks the pair rightly; DPO's loss may be low while it does not."""
    wrong = one_pair(policy=(-2.0, -1.0), reference=(-5.0, -1.0))
    assert value(dpo(1.0), wrong) < math.log(2) < value(dpo_gamma(1.0, 0.0), wrong)
