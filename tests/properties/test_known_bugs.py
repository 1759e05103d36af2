"""Bugs other libraries had that no room's own tests cover; docs/bugs.md lists all of them."""

from __future__ import annotations

import math

import pytest
import torch

from guerdon import advantages, objectives
from guerdon.batch import Batch, Pairs, Partition, Steps
from guerdon.checks.objective import objective_case
from tests.properties.cases_objectives import BATCH


def test_the_logged_parts_are_the_loss():
    """verl 0af6a385b scaled the logged loss twice; trl eff92425d logged rewards without their weights."""
    objective = objectives.dpo(0.1) + 0.3 * objectives.sft("winner") + 2.0 * objectives.kl_penalty("k2")
    whole, parts = objective.loss(BATCH), BATCH.split(3)
    assert sum(whole.parts.values()).item() == pytest.approx(whole.value.item(), rel=1e-6)
    shares = [objective.loss(p, objective.denominators(parts), objective.couple(parts)) for p in parts]
    for name, part in whole.parts.items():
        assert sum(s.parts[name].item() for s in shares) == pytest.approx(part.item(), rel=1e-5)


@pytest.mark.parametrize("reduction", [objectives.token_mean, objectives.sequence_mean, objectives.sequence_sum])
def test_a_row_left_out_leaves_numerator_and_denominator(reduction):
    """trl#6369: truncated samples were masked out of the sum but still counted below it."""
    objective = objectives.reinforce(reduction=reduction())
    mask = BATCH.steps.mask.clone()
    mask[[0, 7]] = False
    call = objective_case(objective, BATCH).call
    inputs = dict(objective_case(objective, BATCH).inputs)
    masked_out = call(**{**inputs, "mask": mask})
    rows = torch.tensor([1, 2, 3, 4, 5, 6, 8, 9])
    plain = Batch(BATCH.steps, advantages=BATCH.advantages)
    removed = objective.loss(plain.take(rows)).value
    assert masked_out.item() == pytest.approx(removed.item(), rel=1e-5)


def test_identical_sides_of_a_pair_are_a_loss_of_log_2_and_no_gradient():
    """torchrl bd200328a crashed on identical chosen and rejected rows, then skipped them above the line only."""
    logp = torch.tensor([[-1.0, -2.0], [-1.0, -2.0]]).requires_grad_()
    steps = Steps(torch.ones(2, 2, dtype=torch.bool), {"policy": logp, "reference": torch.zeros(2, 2)})
    loss = objectives.dpo().loss(Batch(steps, pairs=Pairs(torch.tensor([0]), torch.tensor([1])))).value
    (found,) = torch.autograd.grad(loss, logp)
    assert loss.item() == pytest.approx(math.log(2), rel=1e-6)
    assert torch.equal(found[0], -found[1])  # what lowers one raises the other: shared parameters feel nothing


def test_old_log_probs_follow_the_rows_that_are_kept():
    """trl 941fb332c: rows were filtered, their old log-probs were not, so ratios compared different responses."""
    kept = torch.tensor([8, 2, 5])
    part = Batch(BATCH.steps, advantages=BATCH.advantages).take(kept)
    for name, x in BATCH.steps.logp.items():
        assert torch.equal(part.steps.logp[name], x[kept])
    assert torch.equal(part.advantages["total"], BATCH.advantages["total"][kept])


@pytest.mark.parametrize("convention", sorted(advantages.CONVENTIONS))
def test_equal_rewards_in_half_precision_are_no_advantage(convention):
    """DanceGRPO divides an all-equal bfloat16 group by 1e-8: rounding becomes the advantage."""
    reward = torch.full((6,), 0.1, dtype=torch.bfloat16)
    found = advantages.group_relative(reward, Partition(torch.tensor([0, 0, 0, 1, 1, 1])), None, convention)
    assert found.advantage.dtype == torch.float32
    assert torch.equal(found.advantage, torch.zeros(6))


def test_a_nan_reward_is_no_zero_and_no_neighbour_feels_it():
    """A NaN summed with nansum became the reward 0 (TRL, until rows were masked)."""
    reward = torch.tensor([1.0, float("nan"), 3.0, 0.0])
    ok = torch.tensor([True, False, True, True])
    ids = Partition(torch.zeros(4, dtype=torch.int64))
    found = advantages.rloo(reward, ids, ok)
    assert found.advantage.tolist() == [1.0 - 1.5, 0.0, 3.0 - 0.5, 0.0 - 2.0]
    assert found.ok.tolist() == [True, False, True, True]


@pytest.mark.parametrize("gain", [1.0, 0.0, -1.0])
@pytest.mark.parametrize("level", ["token", "sequence"])
def test_a_clipped_ratio_may_overflow_without_a_trace(gain, level):
    """Beyond a log-ratio of 88 exp is infinite, and a clipped branch's gradient becomes 0 times infinity, NaN."""
    policy = torch.tensor([[-1.0, -0.5]]).requires_grad_()
    steps = Steps(torch.ones(1, 2, dtype=torch.bool), {"policy": policy, "old": torch.tensor([[-300.0, -0.5]])})
    batch = Batch(steps, advantages={"total": torch.full((1, 2), gain)})
    loss = objectives.clipped(0.2, dual=3.0, level=level).loss(batch).value
    (found,) = torch.autograd.grad(loss, policy)
    first = {1.0: -1.2, 0.0: 0.0, -1.0: 3.0}[gain]
    second = -gain if level == "token" else first
    assert loss.item() == pytest.approx((first + second) / 2, abs=1e-6)
    assert found[0, 0].item() == 0.0
    assert found[0, 1].item() == pytest.approx(-gain / 2 if level == "token" else 0.0, abs=1e-6)
