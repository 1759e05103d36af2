"""CPO and AlphaPO by hand (card 144)."""

import inspect
import math

import pytest
import torch

from guerdon import objectives
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


PUBLISHED = {
    "cpo": {"beta": 0.1, "weight": 1.0},
    "alphapo": {"beta": 2.5, "alpha": 0.25, "gamma": 0.25},
    "orpo": {"beta": 0.1},
    "asft": {"weight": 1.0, "beta": 1.0},
    "triple_po": {"beta": 0.01, "weight": 1.0},
    "triple_po_l": {"beta": 2.0, "gamma": 0.5, "weight": 1.0},
    "second_against_worst": {"margin": 0.0},
    "f_dpo": {"beta": 0.1, "divergence": "js", "alpha": 0.5},
    "chi_po": {"beta": 0.05, "reward_range": math.inf, "highest": 20.0},
    "beta_dpo": {"beta": 0.1, "alpha": 0.6, "momentum": 0.9, "least": 1e-3},
    "wpo": {"beta": 0.1, "most": 1.0},
    "odpo": {"beta": 0.1, "alpha": 1.0, "least": 1e-3},
    "r_dpo": {"beta": 0.1, "alpha": 0.01},
    "sampo": {"beta": 0.1},
    "tdpo": {"beta": 0.1, "alpha": 0.5, "drift": "kl:reference", "detach": True},
    "tdpo1": {"beta": 0.1},
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_defaults_are_those_that_were_chosen(name: str) -> None:
    """Smoothing is off everywhere; the rest is the paper's, or what its re-implementations take."""
    found = {k: p.default for k, p in inspect.signature(getattr(objectives, name)).parameters.items()}
    assert {k: found[k] for k in PUBLISHED[name]} == PUBLISHED[name]
    assert found.get("smoothing", 0.0) == 0.0
