"""Constrained RLHF (card 109): a dual is a companion's state that a combination at stage *advantage* reads."""

import pytest
import torch

from guerdon.advantages import whiten
from guerdon.shaping import dual_step, lagrangian


def constrained_advantage(advantages: torch.Tensor, multipliers: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """advantages [1+N,rows,T], the KL stream first; each is standardised, then mixed by the multipliers' free
    variables."""
    standardised = torch.stack([whiten(a, mask) for a in advantages])
    rewards = tuple(f"reward/{i}" for i in range(len(advantages) - 1))
    mix, state = lagrangian("kl", rewards), {"multipliers": multipliers}
    return mix(("kl", *rewards), standardised, mask.expand_as(standardised), state)[0]


def toy(rewards: int) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(1 + rewards, 4, 3, generator=torch.Generator().manual_seed(0)), torch.ones(
        4, 3, dtype=torch.bool
    )


def test_multipliers_at_their_bounds():
    advantages, mask = toy(2)
    kl, first, _ = (whiten(a, mask) for a in advantages)
    none = constrained_advantage(advantages, torch.tensor([-1e4, -1e4]), mask)
    assert torch.allclose(none, 2 * kl, atol=1e-6)  # all μ = 0: N·A_0
    one = constrained_advantage(advantages, torch.tensor([1e4, -1e4]), mask)
    assert torch.allclose(one, kl + first, atol=1e-6)  # μ_1 = 1: (N − 1)·A_0 + A_1


def test_the_dual_rises_below_the_target_and_falls_above():
    start = torch.zeros(2)
    after = dual_step(start, torch.tensor([-1.0, 1.0]), lr=0.1).lambdas  # gap Ĵ − θ
    assert after[0] > 0 > after[1]


def test_equality_converges_on_a_bandit():
    """max KL-regularised mix of one reward: with tanh the mean reward settles on an attainable target."""
    reward, target = torch.tensor([0.0, 1.0], dtype=torch.float64), 0.7
    dual, probability = torch.zeros(1, dtype=torch.float64), torch.tensor([0.5, 0.5], dtype=torch.float64)
    for _ in range(4000):
        mu = torch.tanh(dual)
        pull = mu / (1 - mu).clamp(min=1e-3)  # the exact optimum of (1 − μ)(−KL) + μ E[r] tilts by this
        probability = torch.softmax(pull * reward, 0)
        dual = dual_step(dual, (probability @ reward - target)[None], lr=0.05, equality=True).lambdas
    assert (probability @ reward).item() == pytest.approx(target, abs=1e-3)
