"""f-DPO (card 171) and χPO: links by hand, their limits, and the optimum they lead to."""

import math

import pytest
import torch

from guerdon.batch import Batch, Pairs, Steps
from guerdon.divergences import f_divergence, generator
from guerdon.errors import GuerdonError
from guerdon.objectives import chi_po, dpo, f_dpo, log_ratio, pairwise, scaled
from guerdon.objectives.divergent import clipped_gap
from tests.objectives.test_losses import T1, pair, value

KINDS = ("reverse_kl", "forward_kl", "js", "alpha")


def test_links_by_hand() -> None:
    """Card 171, T1 with β = .1."""
    expected = {"reverse_kl": 0.644397, "forward_kl": 0.642395, "js": 0.668460, "alpha": 0.643900}
    for kind, loss in expected.items():
        assert value(f_dpo(0.1, kind, 0.5), pair(*T1)) == pytest.approx(loss, abs=1e-6), kind


def test_links_bend_only_where_float32_ends() -> None:
    """ρ of −300 is plain DPO; e^60 and e^61 are still told apart. A gap without a bound is the logistic."""
    far = pair([-301.5, -2.0], [-1.5, -1.5])
    assert value(f_dpo(0.1, "reverse_kl"), far) == pytest.approx(value(dpo(0.1), far), rel=1e-6)
    lost = [value(f_dpo(0.1, "forward_kl"), pair([rho - 1.5, -1.5], [-1.5, -1.5])) for rho in (-60.0, -61.0)]
    assert lost[1] / lost[0] == pytest.approx(math.e, rel=1e-4)
    unbounded = pairwise(scaled(0.1, log_ratio()), clipped_gap(math.inf))
    assert value(unbounded, pair(*T1)) == pytest.approx(value(dpo(0.1), pair(*T1)), abs=1e-7)


def test_every_link_starts_at_log_2() -> None:
    for kind in KINDS:
        assert value(f_dpo(0.3, kind), pair([-1.5, -1.5], [-1.5, -1.5])) == pytest.approx(math.log(2), abs=1e-6)


def test_alpha_runs_from_reverse_to_forward() -> None:
    batch = pair(*T1)
    assert value(f_dpo(0.1, "reverse_kl"), batch) == pytest.approx(value(dpo(0.1), batch), abs=1e-7)
    assert value(f_dpo(0.1, "alpha", 1e-6), batch) == pytest.approx(value(dpo(0.1), batch), abs=1e-6)
    assert value(f_dpo(0.1, "alpha", 0.0), batch) == pytest.approx(value(dpo(0.1), batch), abs=1e-7)
    forward = value(f_dpo(0.1, "forward_kl"), batch)
    assert value(f_dpo(0.1, "alpha", 1.0), batch) == pytest.approx(forward, abs=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_optimum_is_that_of_the_divergence(kind: str) -> None:
    """Exact soft labels on all pairs of a free table: at the minimum r − β f′(u) is one constant, and no policy nearby
    has more E r − β D_f."""
    g = torch.Generator().manual_seed(1)
    beta, alpha = 0.7, 0.5
    reward = torch.randn(5, generator=g, dtype=torch.float64)
    reference = torch.randn(5, generator=g, dtype=torch.float64).log_softmax(-1)
    logits = reference.clone().requires_grad_()
    first, second = torch.triu_indices(5, 5, 1)
    pairs = Pairs(first, second, torch.sigmoid(reward[first] - reward[second]))
    mask = torch.ones(5, 1, dtype=torch.bool)
    optimiser = torch.optim.LBFGS([logits], lr=1.0, max_iter=300, tolerance_grad=1e-12, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimiser.zero_grad()
        steps = Steps(mask, {"policy": logits.log_softmax(-1)[:, None], "reference": reference[:, None]})
        loss = f_dpo(beta, kind, alpha).loss(Batch(steps, pairs=pairs)).value
        loss.backward()
        return loss

    optimiser.step(closure)
    of = generator(kind, alpha if kind == "alpha" else None)
    logp = logits.detach().log_softmax(-1)
    constant = reward - beta * of.f_prime(logp - reference)
    assert constant.std().item() < 1e-4

    def worth(p: torch.Tensor) -> float:
        return float((p.exp() * reward).sum() - beta * f_divergence(p, reference, of))

    for _ in range(20):
        near = (logp + 0.05 * torch.randn(5, generator=g, dtype=torch.float64)).log_softmax(-1)
        assert worth(near) < worth(logp)


@pytest.mark.parametrize("kind", KINDS)
def test_long_responses_do_not_overflow(kind: str) -> None:
    for policy in ([-1e4, -1.0], [-1.0, -1e4], [-1e4, -1e4 - 1]):
        batch = pair(policy, [-5.0, -5.0])
        loss = f_dpo(0.1, kind).loss(batch).value
        (slope,) = torch.autograd.grad(loss, batch.steps.logp["policy"])
        assert math.isfinite(loss.item()) and bool(torch.isfinite(slope).all())


def test_only_divergences_that_keep_every_response() -> None:
    with pytest.raises(GuerdonError, match="use chi_po"):
        f_dpo(divergence="chi2")
    with pytest.raises(GuerdonError, match="must lie in"):
        f_dpo(divergence="alpha", alpha=1.5)


def test_chi_po_by_hand() -> None:
    """T1, β = .1: φ(e^½) − φ(e^−½) = 1.042191 + 1."""
    assert value(chi_po(0.1), pair(*T1)) == pytest.approx(math.log1p(math.exp(-0.2042191)), abs=1e-6)
    assert value(chi_po(0.1, reward_range=0.05), pair(*T1)) == pytest.approx(math.log1p(math.exp(-0.1)), abs=1e-6)
    assert value(chi_po(0.1), pair(*T1, margin=torch.tensor([0.2042191]))) == pytest.approx(math.log(2), abs=1e-6)


def test_chi_po_is_the_sum_of_two_links() -> None:
    """β φ is what reverse KL and half χ² imply together: φ = u + log u = f′_KL + f′_χ²/2, up to a constant."""
    rho = torch.linspace(-3, 3, 7)
    both = generator("reverse_kl").f_prime(rho) + generator("chi2").f_prime(rho) / 2
    torch.testing.assert_close(both, rho.exp() + rho)


def test_chi_po_holds_the_exponent_and_clips_without_gradient() -> None:
    batch = pair([-1.0, -1.0], [-200.0, -1.0])
    assert math.isfinite(value(chi_po(), batch))
    gone = pair(*T1)
    (slope,) = torch.autograd.grad(chi_po(0.1, reward_range=0.01).loss(gone).value, gone.steps.logp["policy"])
    assert slope.abs().max() == 0
