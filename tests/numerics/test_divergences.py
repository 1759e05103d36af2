"""Divergences: exact values, zeros, gradients, and which sampled estimator descends which divergence."""

import math
from itertools import pairwise

import pytest
import torch

from guerdon import divergences as dv
from guerdon.errors import GuerdonError

P = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
Q = torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64)

ALL = [(name, None) for name in dv.GENERATORS if name != "alpha"] + [
    ("alpha", a) for a in (-0.5, 0.0, 0.3, 0.5, 1.0, 2.0)
]
FINITE_AT_ZERO_BOTH = [("js", None), ("total_variation", None), ("alpha", 0.5)]


def kl(p: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
    return (p * (p / q).log()).sum()


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (dv.reverse_kl, kl(P, Q)),
        (dv.forward_kl, kl(Q, P)),
        (dv.jensen_shannon, (kl(P, (P + Q) / 2) + kl(Q, (P + Q) / 2)) / 2),
        (dv.chi_squared, ((P - Q) ** 2 / Q).sum()),
        (dv.total_variation, torch.tensor(0.3, dtype=torch.float64)),
        (lambda p, q: dv.alpha_divergence(p, q, 0.5), 4 * (1 - (P * Q).sqrt().sum())),
        (lambda p, q: dv.alpha_divergence(p, q, 0.0), kl(P, Q)),
        (lambda p, q: dv.alpha_divergence(p, q, 1.0), kl(Q, P)),
        (lambda p, q: dv.alpha_divergence(p, q, -1.0), ((P - Q) ** 2 / Q).sum() / 2),
    ],
)
def test_hand_values(function, expected) -> None:
    torch.testing.assert_close(function(P.log(), Q.log()), expected, rtol=1e-12, atol=1e-14)
    assert function(P.log(), P.log()).abs() < 1e-15


def test_known_numbers() -> None:
    p, q = torch.tensor([0.5, 0.5]).log(), torch.tensor([0.25, 0.75]).log()
    assert dv.reverse_kl(p, q).item() == pytest.approx(0.5 * math.log(4 / 3), rel=1e-6)
    assert dv.chi_squared(p, q).item() == pytest.approx(1 / 3, rel=1e-6)
    assert dv.total_variation(p, q).item() == pytest.approx(0.25, rel=1e-6)


@pytest.mark.parametrize(("name", "alpha"), ALL)
def test_derivative_is_the_derivative(name, alpha) -> None:
    of = dv.generator(name, alpha)
    log_u = torch.tensor([-2.0, -0.5, 0.3, 1.7], dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(of.f(log_u).sum(), log_u)
    torch.testing.assert_close(of.f_prime(log_u.detach()), slope / log_u.detach().exp(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("name", "alpha"), ALL)
def test_generator_properties(name, alpha) -> None:
    """f(1) = 0, f convex (f' increasing), and its two limits are what the table says."""
    of = dv.generator(name, alpha)
    assert of.f(torch.zeros(1, dtype=torch.float64)).abs().item() < 1e-15
    assert (of.f_prime(torch.linspace(-5, 5, 50, dtype=torch.float64)).diff() >= -1e-12).all()
    if math.isfinite(of.at_zero):
        assert of.f(torch.tensor(-60.0, dtype=torch.float64)).item() == pytest.approx(of.at_zero, abs=1e-6)
    if math.isfinite(of.slope_at_infinity):
        far = torch.tensor(60.0, dtype=torch.float64)
        assert (of.f(far) / far.exp()).item() == pytest.approx(of.slope_at_infinity, abs=1e-6)


@pytest.mark.parametrize(
    ("name", "alpha", "difference"),
    [
        ("reverse_kl", None, 1.0),
        ("forward_kl", None, math.exp(0.5) - math.exp(-0.5)),
        ("js", None, 0.5),
        ("alpha", 0.5, 1.010449),
    ],
)
def test_f_dpo_links(name, alpha, difference) -> None:
    """Card values at log-ratios +0.5 and -0.5: forward 1.042191, JS 0.5, alpha(0.5) 1.010449."""
    prime = dv.generator(name, alpha).f_prime
    got = prime(torch.tensor(0.5)) - prime(torch.tensor(-0.5))
    assert got.item() == pytest.approx(difference, abs=2e-6)


def test_alpha_limits_are_the_two_kls() -> None:
    log_u = torch.linspace(-3, 3, 13, dtype=torch.float64)
    for alpha, name in ((1e-6, "reverse_kl"), (1 - 1e-6, "forward_kl")):
        near, exact = dv.generator("alpha", alpha).f_prime(log_u), dv.generator(name).f_prime(log_u)
        torch.testing.assert_close(near - near[6], exact - exact[6], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("name", "alpha"), ALL)
def test_zeros_give_no_nan(name, alpha) -> None:
    of = dv.generator(name, alpha)
    logits = torch.tensor([0.3, -0.4, -math.inf, -math.inf], requires_grad=True)
    other = torch.tensor([0.1, 0.2, 0.3, -math.inf], requires_grad=True)
    for first, second in ((logits, other), (other, logits)):
        value = dv.f_divergence(first.log_softmax(-1), second.log_softmax(-1), of)
        assert not value.isnan()
        grads = torch.autograd.grad(value, (first, second))
        assert all(grad.isfinite().all() for grad in grads)
        p, q = first.softmax(-1).detach().double(), second.softmax(-1).detach().double()
        price = of.at_zero if first is logits else of.slope_at_infinity
        mass = q[2] if first is logits else p[2]
        inside = dv.f_divergence(p[:2].log(), q[:2].log(), of)
        torch.testing.assert_close(value.double(), inside + price * mass, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("name", "alpha"), ALL)
def test_gradients(name, alpha) -> None:
    generator = torch.Generator().manual_seed(0)
    p, q = (torch.randn(2, 5, generator=generator, dtype=torch.float64).requires_grad_() for _ in range(2))
    of = dv.generator(name, alpha)
    assert torch.autograd.gradcheck(lambda a, b: dv.f_divergence(a.log_softmax(-1), b.log_softmax(-1), of), (p, q))


@pytest.mark.parametrize(("name", "alpha"), [*FINITE_AT_ZERO_BOTH, ("reverse_kl", None), ("forward_kl", None)])
def test_extreme_logits_stay_finite(name, alpha) -> None:
    p = torch.tensor([1e4, -1e4, 0.0], requires_grad=True)
    q = torch.tensor([-1e4, 1e4, 3.0], requires_grad=True)
    value = dv.f_divergence(p.log_softmax(-1), q.log_softmax(-1), dv.generator(name, alpha))
    assert value.isfinite()
    assert all(g.isfinite().all() for g in torch.autograd.grad(value, (p, q)))


def test_half_precision_is_computed_in_float32() -> None:
    assert dv.reverse_kl(P.log().bfloat16(), Q.log().bfloat16()).dtype == torch.float32


def test_pinsker_and_data_order() -> None:
    generator = torch.Generator().manual_seed(5)
    p, q = (torch.randn(50, 6, generator=generator, dtype=torch.float64).log_softmax(-1) for _ in range(2))
    assert (dv.total_variation(p, q) <= (dv.reverse_kl(p, q) / 2).sqrt()).all()
    assert (dv.reverse_kl(p, q) <= torch.log1p(dv.chi_squared(p, q))).all()
    assert (dv.jensen_shannon(p, q) <= math.log(2)).all()
    torch.testing.assert_close(dv.jensen_shannon(p, q), dv.jensen_shannon(q, p))
    order = torch.tensor([3, 0, 5, 1, 2, 4])
    torch.testing.assert_close(dv.reverse_kl(p[:, order], q[:, order]), dv.reverse_kl(p, q))


# --- sampled estimators on a softmax bandit: expectations are exact sums over the arms ---


def bandit() -> tuple[torch.Tensor, torch.Tensor]:
    theta = torch.tensor([0.7, -0.2, 0.1, -1.0], dtype=torch.float64, requires_grad=True)
    return theta, torch.tensor([-0.3, 0.6, 0.2, 0.0], dtype=torch.float64).log_softmax(-1)


def exact_gradients() -> dict[str, torch.Tensor]:
    theta, logq = bandit()
    zero = torch.zeros_like(theta)
    reverse = torch.autograd.grad(dv.reverse_kl(theta.log_softmax(-1), logq), theta)[0]
    forward = torch.autograd.grad(dv.forward_kl(theta.log_softmax(-1), logq), theta)[0]
    logp = theta.log_softmax(-1)
    expected_k2 = torch.autograd.grad((logp.exp() * (logp - logq) ** 2 / 2).sum(), theta)[0]
    return {"zero": zero, "reverse": reverse, "forward": forward, "expected_k2": expected_k2}


@pytest.mark.parametrize(
    ("kind", "gradient", "descends"),
    [
        ("k1", "pathwise", "zero"),
        ("k2", "pathwise", "reverse"),
        ("k3", "pathwise", "forward"),
        ("k1", "k2", "reverse"),
        ("k2", "k2", "reverse"),
        ("k3", "k2", "reverse"),
        ("k1", "score", "reverse"),
        ("k2", "score", "expected_k2"),
        ("k3", "score", "reverse"),
    ],
)
def test_expected_gradient_as_a_loss(kind, gradient, descends) -> None:
    """NeMo-RL 33bce20d7, verl 7e80ab0cf: k1 in a loss learns nothing and k3 in a loss descends the forward KL."""
    theta, logq = bandit()
    logp = theta.log_softmax(-1)
    estimate = dv.kl_estimate(logp - logq, kind, gradient=gradient)
    (expected,) = torch.autograd.grad((logp.detach().exp() * estimate).sum(), theta)
    torch.testing.assert_close(expected, exact_gradients()[descends], rtol=1e-12, atol=1e-12)
    if kind in ("k1", "k3"):
        value = (logp.detach().exp() * estimate.detach()).sum()
        torch.testing.assert_close(value, dv.reverse_kl(logp.detach(), logq), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", ["k1", "k2", "k3"])
def test_expected_gradient_in_a_reward(kind) -> None:
    theta, logq = bandit()
    logp = theta.log_softmax(-1)
    penalty = dv.kl_estimate(logp - logq, kind, gradient="none")
    assert not penalty.requires_grad
    (expected,) = torch.autograd.grad((logp.detach().exp() * penalty * logp).sum(), theta)
    exact = exact_gradients()
    right = {"k1": exact["reverse"], "k3": exact["reverse"] - exact["forward"]}
    if kind == "k2":
        assert not torch.allclose(expected, exact["reverse"], rtol=0.05)
        return
    torch.testing.assert_close(expected, right[kind], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("kind", "gradient"), [("k2", "pathwise"), ("k1", "k2"), ("k3", "k2"), ("k1", "score"), ("k3", "score")]
)
def test_descending_the_loss_lowers_the_kl(kind, gradient) -> None:
    """verl a65c9157: the KL loss was maximised until a one-character fix. Checked against finite differences."""
    theta, logq = bandit()
    logp = theta.log_softmax(-1)
    loss = (logp.detach().exp() * dv.kl_estimate(logp - logq, kind, gradient=gradient)).sum()
    (grad,) = torch.autograd.grad(loss, theta)
    for arm in range(4):
        step = torch.zeros(4, dtype=torch.float64)
        step[arm] = 1e-5
        up, down = (dv.reverse_kl((theta.detach() + s * step).log_softmax(-1), logq) for s in (1, -1))
        assert grad[arm].item() == pytest.approx(((up - down) / 2e-5).item(), abs=1e-8)
    values = []
    with torch.no_grad():
        for _ in range(3):
            values.append(dv.reverse_kl(theta.log_softmax(-1), logq))
            theta -= 0.1 * grad
    assert all(b < a for a, b in pairwise(values[:2]))


def test_estimator_hand_values_and_clamps() -> None:
    """OpenRLHF, verl and open-instruct clamp differently; here nothing is clamped unless asked."""
    r = torch.tensor([0.0, 0.5, -2.0, 30.0])
    torch.testing.assert_close(dv.kl_estimate(r, "k1", gradient="none"), r)
    torch.testing.assert_close(dv.kl_estimate(r, "k2", gradient="none"), torch.tensor([0.0, 0.125, 2.0, 450.0]))
    k3 = torch.tensor([0.0, math.exp(-0.5) - 0.5, math.exp(2.0) - 3.0, 29.0])
    torch.testing.assert_close(dv.kl_estimate(r, "k3", gradient="none"), k3)
    assert dv.kl_estimate(r, "k1", gradient="none", clamp_ratio=1.0).tolist() == [0.0, 0.5, -1.0, 1.0]
    assert dv.kl_estimate(r, "k2", gradient="none", clamp_value=10.0).tolist() == [0.0, 0.125, 2.0, 10.0]
    r = r.requires_grad_()
    (grad,) = torch.autograd.grad(dv.kl_estimate(r, "k1", gradient="pathwise", clamp_value=10.0).sum(), r)
    assert grad.tolist() == [1.0, 1.0, 1.0, 0.0]
    (grad,) = torch.autograd.grad(dv.kl_estimate(r, "k1", gradient="k2", clamp_value=1.0).sum(), r)
    assert grad.tolist() == [0.0, 0.5, -2.0, 30.0]


def test_k3_near_zero_keeps_its_digits_and_sign() -> None:
    """exp(-r) - 1 + r written out cancels in float32; r = 1e-3 must give r^2/2 - r^3/6."""
    r = torch.tensor([1e-3, -1e-3])
    assert (dv.kl_estimate(r, "k3", gradient="none") >= 0).all()
    assert dv.kl_estimate(torch.tensor([1e-2]), "k3", gradient="none").item() == pytest.approx(4.98337e-5, rel=1e-4)


# --- occupancies and Gaussians ---


def test_occupancies() -> None:
    d_pi, d_ref = torch.tensor([[0.5, 0.5, 0.0]]), torch.tensor([[0.25, 0.5, 0.25]])
    assert dv.occupancy_kl(d_pi, d_ref).item() == pytest.approx(0.5 * math.log(2), rel=1e-6)
    assert dv.occupancy_chi2(d_pi, d_ref).item() == pytest.approx(0.5)
    assert dv.occupancy_root_chi2(d_pi, d_ref).item() == pytest.approx(math.sqrt(0.5))
    assert dv.occupancy_divergence(d_pi, d_ref, dv.generator("total_variation")).item() == pytest.approx(0.25)
    assert dv.occupancy_chi2(d_ref, d_pi).item() == math.inf
    assert dv.occupancy_kl(d_ref, d_pi).item() == math.inf
    torch.testing.assert_close(dv.occupancy_chi2(P, Q), dv.chi_squared(P.log(), Q.log()), rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(dv.occupancy_chi2(P, Q), (P**2 / Q).sum() - 1, rtol=1e-12, atol=1e-14)


def test_gradient_of_root_chi2_is_the_ratio_over_the_root() -> None:
    d = P.clone().requires_grad_()
    (grad,) = torch.autograd.grad(dv.occupancy_root_chi2(d, Q), d)
    torch.testing.assert_close(grad, (P / Q - 1) / dv.occupancy_root_chi2(P, Q), rtol=1e-12, atol=1e-12)
    d = Q.clone().requires_grad_()
    assert torch.autograd.grad(dv.occupancy_root_chi2(d, Q), d)[0].tolist() == [0.0, 0.0, 0.0]


def test_gaussian_kl() -> None:
    one, two = torch.tensor([1.0, 1.0]), torch.tensor([2.0, 1.0])
    got = dv.gaussian_kl(torch.tensor([0.0, 3.0]), one, torch.tensor([1.0, 1.0]), two)
    torch.testing.assert_close(got, torch.tensor([math.log(2) + 2 / 8 - 0.5, 2.0]))
    p, q = torch.distributions.Normal(0.3, 0.7), torch.distributions.Normal(-1.0, 1.9)
    torch.testing.assert_close(dv.gaussian_kl(p.loc, p.scale, q.loc, q.scale), torch.distributions.kl_divergence(p, q))


def test_errors() -> None:
    with pytest.raises(GuerdonError, match="alpha"):
        dv.generator("alpha")
    with pytest.raises(GuerdonError, match="alpha"):
        dv.generator("js", 0.5)
    with pytest.raises(GuerdonError, match="known are"):
        dv.generator("kullback")  # type: ignore[arg-type]
    with pytest.raises(GuerdonError, match="k1"):
        dv.kl_estimate(P, "k4", gradient="none")  # type: ignore[arg-type]
    with pytest.raises(GuerdonError, match="pathwise"):
        dv.kl_estimate(P, "k1", gradient="unbiased")  # type: ignore[arg-type]
