"""PRIME (card 95): a reward that learns beside the policy is two log-probs of one more snapshot, an objective and an
advantage."""

import math

import pytest
import torch

from guerdon import reduce
from guerdon.batch import Batch, Partition, Steps
from guerdon.objectives import Objective, Term


def prm_loss(beta: float = 0.05) -> Objective:
    def unit(batch: Batch, stats) -> torch.Tensor:
        logit = beta * reduce.total(batch.steps.log_ratio("prm"), batch.steps.mask)
        outcome = batch.columns["outcome"]
        return torch.nn.functional.binary_cross_entropy_with_logits(logit, outcome, reduction="none")

    needs = ("steps.logp.prm", "steps.logp.reference", "columns.outcome")
    return Objective((Term("prm", needs, unit, lambda b: b.steps.mask.any(-1).float()),))


def prime_advantage(steps: Steps, outcome: torch.Tensor, prompt: Partition, beta: float = 0.05) -> torch.Tensor:
    step_reward = beta * steps.log_ratio("prm")
    baseline = reduce.leave_one_out_mean(reduce.average(step_reward, steps.mask), prompt.ids)
    process = reduce.reverse_cumsum(reduce.masked(step_reward - baseline[:, None], steps.mask), steps.mask)
    gain = outcome - reduce.leave_one_out_mean(outcome, prompt.ids)
    return reduce.masked(process + gain[:, None], steps.mask).detach()


def toy(prm: torch.Tensor) -> Steps:
    return Steps(torch.ones(4, 2, dtype=torch.bool), {"prm": prm, "reference": torch.full((4, 2), -1.0)})


def test_at_the_reference_loss_is_log_2_and_advantage_is_rloo():
    steps, outcome = toy(torch.full((4, 2), -1.0)), torch.tensor([1.0, 0.0, 0.0, 1.0])
    batch = Batch(steps, columns={"outcome": outcome})
    assert prm_loss().loss(batch).value.item() == pytest.approx(math.log(2), abs=1e-7)
    advantage = prime_advantage(steps, outcome, Partition.whole(4))
    assert advantage[:, 0].tolist() == pytest.approx([2 / 3, -2 / 3, -2 / 3, 2 / 3], abs=1e-6)


def test_process_rewards_to_go_minus_the_others_token_mean():
    prm = torch.tensor([[0.0, 1.0], [-1.0, -1.0], [-1.0, -1.0], [-1.0, -1.0]])  # log-ratios 1, 2 in row 0
    advantage = prime_advantage(toy(prm), torch.zeros(4), Partition.whole(4), beta=1.0)
    assert advantage[0].tolist() == pytest.approx([3.0, 2.0], abs=1e-6)
    assert advantage[1].tolist() == pytest.approx([-1.0, -0.5], abs=1e-6)  # mean of row 0 is 1.5, a third each step


def test_gradient_is_beta_times_the_residual():
    prm = torch.full((4, 2), -0.5, requires_grad=True)
    outcome = torch.tensor([1.0, 0.0, 0.0, 1.0])
    loss = prm_loss(0.05).loss(Batch(toy(prm), columns={"outcome": outcome})).value
    (gradient,) = torch.autograd.grad(loss, prm)
    residual = torch.sigmoid(torch.tensor(0.05)) - outcome
    assert torch.allclose(gradient, (0.05 * residual / 4)[:, None].expand(4, 2), atol=1e-8)
