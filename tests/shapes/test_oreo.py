"""OREO (card 166): a value head and the exact full-vocabulary KL beside a path-consistency residual."""

import math

import pytest
import torch

from guerdon import reduce
from guerdon.batch import Batch, Steps
from guerdon.objectives import Objective, Term, kl_penalty, sequence_mean


def oreo(beta: float = 0.03, alpha: float = 0.01) -> Objective:
    cut = sequence_mean()

    def residual(batch: Batch, learn_value: bool) -> torch.Tensor:
        steps = batch.steps
        c, value = steps.log_ratio(), steps.stat("value:reward")
        later = reduce.reverse_cumsum(c.detach(), steps.mask) - c.detach()
        gap = -batch.returns["reward"] + beta * ((c.detach() if learn_value else c) + later)
        return ((value if learn_value else value.detach()) + gap).square()

    def term(name: str, learn_value: bool) -> Term:
        return Term(
            name,
            ("steps.logp.policy", "steps.logp.reference", "steps.stats.value:reward", "returns.reward"),
            lambda b, stats: cut.units(residual(b, learn_value), b.steps.mask),
            lambda b: cut.weight(b.steps.mask),
        )

    return Objective((term("value", True), term("policy", False))) + alpha * kl_penalty("full", reduction=cut)


def tree_solution(beta: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Two binary steps, uniform reference, reward 1 only on leaf (0, 0): soft-optimal log-ratios and values along that
    path."""
    v1 = beta * math.log((math.exp(1 / beta) + 1) / 2)  # after the first 0
    v0 = beta * math.log((math.exp(v1 / beta) + 1) / 2)
    return torch.tensor([[(v1 - v0) / beta, (1 - v1) / beta]]), torch.tensor([[v0, v1]])


def batch(ratio: torch.Tensor, value: torch.Tensor) -> Batch:
    ones = torch.ones_like(value)
    logp = {"policy": ratio + math.log(0.5), "reference": ones * math.log(0.5)}
    steps = Steps(ones.bool(), logp, {"value:reward": value, "kl:reference": ones * 0.25})
    return Batch(steps, returns={"reward": ones})


def test_the_soft_optimum_has_no_residual():
    ratio, value = tree_solution(0.5)
    parts = oreo(0.5, 0.01).loss(batch(ratio, value)).parts
    assert parts["value"].item() == pytest.approx(0, abs=1e-12)
    assert parts["policy"].item() == pytest.approx(0, abs=1e-12)
    assert parts["kl"].item() == pytest.approx(0.01 * 0.25, abs=1e-9)


def test_beta_0_regresses_the_value_on_the_return():
    parts = oreo(0.0).loss(batch(torch.tensor([[0.3, 0.7]]), torch.tensor([[0.5, 0.0]]))).parts
    assert parts["value"].item() == pytest.approx((0.25 + 1.0) / 2, abs=1e-7)


def test_a_token_does_not_feel_the_later_residuals():
    ratio = torch.tensor([[0.3, 0.7]], requires_grad=True)
    value = torch.tensor([[0.5, 0.2]])
    policy = Objective((oreo(0.5).terms[1],)).loss(batch(ratio, value)).value
    (gradient,) = torch.autograd.grad(policy, ratio)
    last = 0.2 - 1 + 0.5 * 0.7  # the residual of the last step alone; no sum over earlier starting points
    assert gradient[0, 1].item() == pytest.approx(2 * last * 0.5 / 2, abs=1e-6)
