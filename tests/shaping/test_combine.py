"""K channels to one: the checks of WCO/UWO, constrained RLHF and MARBLE, and what happens to absent channels."""

import math

import pytest
import torch
from torch import Tensor

from guerdon.errors import GuerdonError
from guerdon.rewards.interface import Combine
from guerdon.shaping import (
    dual_step,
    lagrangian,
    maximum,
    mean,
    mean_minus_std,
    median,
    minimum,
    minimum_norm,
    minimum_norm_weights,
    product,
    uncertainty_weighted,
    weighted_sum,
)
from guerdon.shaping.minimum_norm import simplex_minimum

NAN = float("nan")
ALL = [
    weighted_sum(a=2.0, b=0.5, c=1.0), weighted_sum(), mean(), median(), minimum(), maximum(), product(),
    mean_minus_std(0.5), uncertainty_weighted(0.5), lagrangian("a", ("b", "c")), minimum_norm(),
]  # fmt: skip


def combine(
    c: Combine, values: Tensor, ok: Tensor | None = None, names: tuple[str, ...] = ("a", "b", "c", "d")
) -> Tensor:
    ok = torch.ones(values.shape, dtype=torch.bool) if ok is None else ok
    return c(names[: len(values)], values, ok, c.init())[0]


@pytest.mark.parametrize("combination", ALL, ids=lambda c: c.name)
def test_absent_values_may_hold_anything(combination: Combine) -> None:
    assert isinstance(combination, Combine)
    ok = torch.tensor([[True, True, True, True], [True, True, False, False], [True, False, True, False]])
    seen = []
    for junk in (NAN, 1e9, -float("inf")):
        values = torch.arange(12.0).reshape(3, 4).masked_fill(~ok, junk).requires_grad_()
        value, valid = combination(("a", "b", "c"), values, ok, combination.init())
        value.sum().backward()
        assert values.grad is not None and bool(values.grad.isfinite().all())
        assert values.grad[~ok].tolist() == [0.0] * 4
        assert valid.tolist() == [True] * 4
        seen.append(value.detach())
    assert torch.equal(seen[0], seen[1]) and torch.equal(seen[0], seen[2])


@pytest.mark.parametrize("combination", ALL, ids=lambda c: c.name)
def test_nothing_valid_is_not_ok_and_finite(combination: Combine) -> None:
    value, valid = combination(
        ("a", "b", "c"), torch.full((3, 2), NAN), torch.zeros(3, 2, dtype=torch.bool), combination.init()
    )
    assert not bool(valid.any())
    assert bool(value.isfinite().all())


def test_ensembles_by_hand() -> None:
    """Card 14: scores (1, 3) give mean 2, WCO 1, UWO(½) 1.5 with population and 1.0 with unbiased variance."""
    values = torch.tensor([[1.0], [3.0]])
    assert combine(mean(), values).item() == 2.0
    assert combine(minimum(), values).item() == 1.0
    assert combine(maximum(), values).item() == 3.0
    assert combine(product(), values).item() == 3.0
    assert combine(uncertainty_weighted(0.5), values).item() == 1.5
    assert combine(uncertainty_weighted(0.5, correction=1), values).item() == 1.0
    assert combine(mean_minus_std(0.5), values).item() == 1.5
    assert combine(mean_minus_std(1.0, correction=1), values).item() == pytest.approx(2 - math.sqrt(2))
    assert combine(median(), torch.tensor([[5.0], [1.0], [2.0]])).item() == 2.0
    assert combine(median(), torch.tensor([[5.0], [1.0], [2.0], [4.0]])).item() == 3.0


def test_ensemble_limits() -> None:
    members = torch.randn(4, 7).double()
    assert bool((combine(minimum(), members) <= combine(mean(), members)).all())
    torch.testing.assert_close(combine(uncertainty_weighted(0.0), members), combine(mean(), members))
    for c in (mean(), minimum(), maximum(), median(), uncertainty_weighted(0.5), mean_minus_std(0.5)):
        torch.testing.assert_close(combine(c, members[:1]), members[0])
        torch.testing.assert_close(combine(c, members[:1].expand(4, 7)), members[0])
        torch.testing.assert_close(combine(c, members[torch.tensor([2, 0, 3, 1])]), combine(c, members))


def test_weighted_sum_goes_by_name() -> None:
    c = weighted_sum({"b": 2.0}, a=10.0)
    assert combine(c, torch.tensor([[1.0], [3.0]])).item() == 16.0
    assert c(("b", "a"), torch.tensor([[1.0], [3.0]]), torch.ones(2, 1).bool(), {})[0].item() == 32.0
    assert (
        c(("b", "a"), torch.ones(2, 1), torch.ones(2, 1).bool(), {"weights": torch.tensor([1.0, 5.0])})[0].item() == 6.0
    )
    with pytest.raises(GuerdonError, match="weights for"):
        combine(c, torch.ones(3, 1))


def test_lagrangian_by_hand() -> None:
    """Card 109: all μ = 0 is N·A_0; μ_1 = 1, the rest 0 is (N−1)·A_0 + A_1."""
    values = torch.tensor([[2.0], [10.0], [100.0]])
    ok = torch.ones(3, 1, dtype=torch.bool)
    c = lagrangian("kl", ("r1", "r2"), equality=True)
    names = ("kl", "r1", "r2")

    def at(*lambdas: float) -> float:
        return c(names, values, ok, {"multipliers": torch.tensor(lambdas)})[0].item()

    assert at(0.0, 0.0) == 4.0
    assert at(50.0, 0.0) == 12.0
    assert at(-50.0, 0.0) == pytest.approx(3 * 2.0 - 10.0)
    assert at(0.0, 0.5) == pytest.approx((2 - math.tanh(0.5)) * 2 + math.tanh(0.5) * 100)
    single = lagrangian("kl", ("r1",))
    assert single(names[:2], values[:2], ok[:2], {"multipliers": torch.tensor([50.0])})[0].item() == 10.0
    assert combine(single, values[:2], names=names).item() == 6.0  # σ(0) = ½
    with pytest.raises(GuerdonError, match="r2"):
        c(names[:2], values[:2], ok[:2], c.init())
    with pytest.raises(GuerdonError, match="base"):
        lagrangian("kl", ("kl",))


@pytest.mark.parametrize("equality", [True, False])
def test_dual_step_sign_and_size(equality: bool) -> None:
    """Below the target (gap < 0) λ rises, above it falls."""
    zero = torch.zeros(2)
    up = dual_step(zero, torch.tensor([-0.3, 0.3]), 1.0, equality=equality, clip=None).lambdas
    slope = 1.0 if equality else 0.25
    assert up.tolist() == pytest.approx([0.3 * slope, -0.3 * slope])
    first = dual_step(zero, torch.tensor([-30.0, 40.0]), 1.0, equality=True)
    assert first.lambdas.tolist() == pytest.approx([0.3, -0.4])  # norm 50 clipped to 0.5
    second = dual_step(zero, torch.zeros(2), 1.0, equality=True, momentum=first.momentum)
    assert second.lambdas.tolist() == pytest.approx([0.03, -0.04])
    third = dual_step(zero, torch.tensor([-0.1, 0.0]), 1.0, equality=True, momentum=first.momentum)
    assert third.lambdas.tolist() == pytest.approx([0.13, -0.04])


def test_the_equality_multiplier_holds_a_bandit_at_its_target() -> None:
    """Two arms paying 0 and 1, base policy uniform: maximising (1−μ)(−KL) + μ E[r] with ξ keeps E[r] at θ."""
    lam, theta, value = torch.zeros(1), 0.7, 0.5
    for _ in range(4000):
        mu = math.tanh(lam.item())
        value = s(mu / (1 - mu)) if mu < 1 else 1.0
        lam = dual_step(lam, torch.tensor([value - theta]), 0.05, equality=True).lambdas
    assert value == pytest.approx(theta, abs=1e-4)


def s(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def unit(*angles: float) -> Tensor:
    return torch.tensor([[math.cos(a), math.sin(a)] for a in angles], dtype=torch.float64)


def test_minimum_norm_by_hand() -> None:
    """Card 1: two unit gradients share equally; (1,0),(1,0),(0,1) gives the third ½; angles 0, 1, 2 skip the middle."""
    for angle in (0.1, 1.0, 3.0, math.pi):
        assert minimum_norm_weights(unit(0.0, angle)).tolist() == pytest.approx([0.5, 0.5], abs=1e-9)
    assert minimum_norm_weights(unit(0, 0, math.pi / 2))[2].item() == pytest.approx(0.5, abs=1e-12)
    alpha = minimum_norm_weights(unit(0, 1, 2))
    assert alpha.tolist() == pytest.approx([0.5, 0.0, 0.5], abs=1e-12)
    assert (alpha @ unit(0, 1, 2)).square().sum().item() == pytest.approx(0.2919, abs=5e-5)


@pytest.mark.parametrize("seed", range(12))
def test_minimum_norm_satisfies_kkt(seed: int) -> None:
    """⟨d, ĝ_k⟩ ≥ ‖d‖² for every k: every loss decreases to first order; and α lies on the simplex."""
    draw = torch.Generator().manual_seed(seed)
    k, d = 2 + seed % 6, 1 + seed
    gradients = torch.randn(k, d, generator=draw, dtype=torch.float64)
    gradients = gradients / gradients.norm(dim=-1, keepdim=True)
    alpha = minimum_norm_weights(gradients)
    assert alpha.sum().item() == pytest.approx(1.0, abs=1e-12) and bool((alpha >= 0).all())
    direction = alpha @ gradients
    assert bool((gradients @ direction >= direction.square().sum() - 1e-10).all())


def test_minimum_norm_ignores_scale_and_zero_gradients() -> None:
    gradients = torch.randn(3, 5).double()
    alpha = minimum_norm_weights(gradients)
    scaled = gradients * torch.tensor([[1000.0], [1.0], [1e-3]]).double()
    torch.testing.assert_close(minimum_norm_weights(scaled), alpha, rtol=0, atol=1e-9)
    with_zero = torch.cat([gradients, torch.zeros(1, 5).double()])
    torch.testing.assert_close(minimum_norm_weights(with_zero), torch.cat([alpha, torch.zeros(1).double()]))
    torch.testing.assert_close(combine(minimum_norm(), with_zero), combine(minimum_norm(), gradients))
    assert minimum_norm_weights(torch.zeros(2, 3)).tolist() == [0.0, 0.0]


def test_minimum_norm_of_one_is_the_gradient_and_is_scaled_by_the_mean_norm() -> None:
    gradient = torch.tensor([[3.0, 4.0]])
    torch.testing.assert_close(combine(minimum_norm(), gradient), gradient[0])
    two = combine(minimum_norm(), torch.tensor([[2.0, 0.0], [0.0, 4.0]]))
    assert two.tolist() == pytest.approx([1.5, 1.5])
    small = combine(minimum_norm(), torch.tensor([[0.2, 0.0], [0.0, 0.4], [0.0, 0.0]]))
    assert small.tolist() == pytest.approx([0.15, 0.15])


def test_simplex_minimum_against_a_grid() -> None:
    draw = torch.Generator().manual_seed(3)
    ticks = torch.linspace(0, 1, 201, dtype=torch.float64)
    a, b = torch.meshgrid(ticks, ticks, indexing="ij")
    grid = torch.stack([a, b, 1 - a - b], -1)[(a + b) <= 1]
    for _ in range(10):
        g = torch.randn(3, 3, generator=draw, dtype=torch.float64)
        gram = g @ g.mT
        alpha = simplex_minimum(gram)
        best = torch.einsum("ni,ij,nj->n", grid, gram, grid).min()
        assert float(alpha @ gram @ alpha) <= float(best) + 1e-12


def test_combinations_work_at_every_stage() -> None:
    """The gradient of a weighted sum is the weighted sum of gradients: stages agree where everything is linear."""
    steps = torch.randn(2, 3, 4)
    ok = torch.ones(2, 3, 4, dtype=torch.bool)
    value, valid = weighted_sum(a=0.5, b=2.0)(("a", "b"), steps, ok, {})
    torch.testing.assert_close(value, 0.5 * steps[0] + 2 * steps[1])
    assert valid.shape == (3, 4)
