"""CPO and AlphaPO by hand (card 144)."""

import math

import pytest
import torch

from guerdon.errors import GuerdonError
from guerdon.objectives import alphapo, cpo, dpo, simpo, total_logprob
from tests.objectives.test_losses import T1, pair, value


def softplus(x: float) -> float:
    return math.log1p(math.exp(x))


def test_cpo_by_hand() -> None:
    """T1 without its reference: −log σ(0.1·(−1 + 2)) + 1.0 for the one chosen step, + 0.5 where it has two."""
    assert value(cpo(0.1), pair([-1.0, -2.0])) == pytest.approx(0.644397 + 1.0, abs=1e-6)
    assert value(cpo(0.1), pair([-1.0, -2.0], lengths=(2, 1))) == pytest.approx(0.644397 + 0.5, abs=1e-6)
    assert value(cpo(0.1, weight=0.0), pair([-1.0, -2.0])) == pytest.approx(value(dpo(0.1), pair(*T1)), abs=1e-7)


def test_alphapo_by_hand() -> None:
    """p̄ = e^−½ on both sides of lengths 2 and 4 would tie; here averages are −0.5 and −1, so r = (1 − e^{−α·avg})/α."""
    batch = pair([-1.0, -4.0], lengths=(2, 4))
    gap = (math.exp(0.25) - math.exp(0.125)) / 0.25
    assert value(alphapo(2.5, 0.25, 0.25), batch) == pytest.approx(softplus(-(2.5 * gap - 0.25)), abs=1e-6)


def test_alphapo_at_0_is_simpo() -> None:
    batch = pair([-1.0, -4.0], lengths=(2, 4))
    assert value(alphapo(2.0, 0.0, 1.0), batch) == pytest.approx(value(simpo(2.0, 1.0), batch), abs=1e-7)
    assert value(alphapo(2.0, 1e-4, 1.0), batch) == pytest.approx(value(simpo(2.0, 1.0), batch), abs=1e-3)


def test_alphapo_survives_an_impossible_response() -> None:
    batch = pair([-1e4, -1e4 - 1])
    loss = alphapo().loss(batch).value
    (slope,) = torch.autograd.grad(loss, batch.steps.logp["policy"])
    assert math.isfinite(loss.item()) and bool(torch.isfinite(slope).all())
    with pytest.raises(GuerdonError, match="finite number"):
        alphapo(alpha=float("nan"))


def test_no_reference_is_asked_for() -> None:
    for objective in (cpo(), alphapo()):
        assert objective.logps() == ("policy",)
    assert total_logprob().unit == "nats"
