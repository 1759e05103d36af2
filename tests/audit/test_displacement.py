"""Curves of both sides in words, conditions one by one, and the gradients behind them (cards 98, 168)."""

import math

import pytest
import torch

from guerdon.audit.displacement import Displacement, displacement
from guerdon.audit.pair_gradients import difference_only, pair_gradients, probability_gradients, shift_terms
from guerdon.batch import Seed
from guerdon.errors import GuerdonError
from guerdon.lab.finite import compare, finite
from guerdon.objectives import (
    Objective,
    bradley_terry_loss,
    dpo,
    dpo_shift,
    hinge,
    log_ratio,
    pairwise,
    rpo,
    simpo,
    vpo,
)
from tests.objectives.test_losses import pair


def line(start: float, end: float, rounds: int = 40, noise: float = 0.0) -> list[float]:
    return [start + (end - start) * i / (rounds - 1) + noise * (-1) ** i for i in range(rounds)]


def names(found: Displacement) -> set[str]:
    return {f.name for f in found.holding()}


def test_both_fall_and_it_is_expected_of_a_loss_of_the_difference():
    found = displacement(line(0, -2), line(0, -4), difference_only=True)
    assert found.pattern == "both fall"
    assert names(found) == {
        "both fall",
        "degradation into suppression",
        "dispersion onto unseen responses",
        "drastic drop of the rejected",
    }
    (said,) = [f.sentence for f in found.holding() if f.name == "both fall"]
    assert "expected here, because the loss sees only their difference" in said and "50 %" in said
    # Ends are means of a tenth of 40 rounds: 4 rounds, so 36 of 39 steps lie between them.
    assert found.chosen.change == pytest.approx(-2 * 36 / 39)
    assert found.margin.change == pytest.approx(2 * 36 / 39)


def test_the_same_fall_is_not_expected_where_the_objective_holds_the_level():
    found = displacement(line(0, -2), line(0, -4), difference_only=False)
    (first,) = [f for f in found.holding() if f.name == "both fall"]
    assert "too, yet" in first.sentence and "expected" not in first.sentence and "weight" in first.todo
    (unknown,) = [f for f in displacement(line(0, -2), line(0, -4)).holding() if f.name == "both fall"]
    assert "may see only" in unknown.sentence


def test_a_fall_without_a_margin_is_no_learning():
    (first, *_) = displacement(line(0, -3), line(0, -2), difference_only=True).holding()
    assert "does not grow" in first.sentence and "labels" in first.todo


@pytest.mark.parametrize(
    ("chosen", "rejected", "pattern", "holding"),
    [
        ((0, 1), (0, -1), "apart", set()),
        ((0, 1), (0, -9), "apart", {"drastic drop of the rejected"}),
        ((0, 1), (0, 0.5), "both rise", {"both rise"}),
        ((0, -1), (0, 1), "crossed", {"crossed"}),
        ((0, 0), (0, 0), "still", set()),
        ((0, 0), (0, -1), "rejected falls", {"degradation into suppression"}),
        ((0, 1), (0, 0), "chosen rises", set()),
    ],
)
def test_every_way_the_sides_can_go(chosen, rejected, pattern, holding):
    found = displacement(line(*chosen), line(*rejected))
    assert (found.pattern, names(found)) == (pattern, holding)


def test_suppression_is_told_from_the_second_half():
    """Chosen rises first and stays; rejected falls all along."""
    found = displacement(line(0, 2, 20) + [2.0] * 20, line(0, -2, 40))
    assert "degradation into suppression" in names(found) and found.pattern == "apart"


def test_noise_and_short_runs_say_nothing():
    noisy = displacement(line(0, -0.2, noise=1.0), line(0, -0.3, noise=-1.0))
    assert noisy.pattern == "still" and not noisy.holding()
    assert not displacement(line(0, -2, 7), line(0, -4, 7)).holding()
    with pytest.raises(GuerdonError, match="one value a round"):
        displacement([0.0], [0.0, 1.0])
    with pytest.raises(GuerdonError, match="one value a round"):
        displacement([], [])


@pytest.mark.parametrize(
    ("objective", "expected"),
    [
        (dpo(), True),
        (simpo(), True),
        (pairwise(log_ratio(), hinge(5.0)), True),
        (rpo(0.1, 1.0), False),
        (vpo(0.1, 0.5), False),
        (dpo_shift(0.1, 0.9), False),
        (bradley_terry_loss(), None),
        (vpo(rows="reference"), None),
    ],
)
def test_which_objectives_see_the_difference_alone(objective: Objective, expected: bool | None):
    assert difference_only(objective) is expected


def test_gradients_in_probability_space_are_those_of_autograd():
    policy = torch.tensor([0.3, 0.02], dtype=torch.float64, requires_grad=True)
    reference = torch.tensor([0.1, 0.25], dtype=torch.float64)
    beta = 0.1
    margin = (policy[0] / reference[0]).log() - (policy[1] / reference[1]).log()
    (expected,) = torch.autograd.grad(-torch.nn.functional.logsigmoid(beta * margin), policy)
    log, ref = policy.detach().log(), reference.log()
    plus, minus = probability_gradients(log[:1], log[1:], ref[:1], ref[1:], beta)
    assert [plus.item(), minus.item()] == pytest.approx(expected.tolist(), rel=1e-12)
    assert (minus / plus).item() == pytest.approx(-0.3 / 0.02, rel=1e-12)  # −π⁺/π⁻
    # The card's form: z = π⁻/π⁺, a = (π_ref⁺/π_ref⁻)^β.
    z, a = 0.02 / 0.3, (0.1 / 0.25) ** beta
    factor = a * beta * z ** (beta - 1) / (1 + a * z**beta)
    assert plus.item() == pytest.approx(-factor * 0.02 / 0.3**2, rel=1e-12)
    assert minus.item() == pytest.approx(factor / 0.3, rel=1e-12)


def test_the_chosen_push_fades_and_the_rejected_one_blows_up():
    gone = torch.tensor([-1.0, -20.0, -200.0], dtype=torch.float64)
    one = torch.full_like(gone, -1.0)
    plus, minus = probability_gradients(one, gone, one, one, 0.1)
    assert plus.abs().tolist() == sorted(plus.abs().tolist(), reverse=True) and plus[2].abs() < 1e-9
    assert minus.tolist() == sorted(minus.tolist()) and minus[2] > 1e60
    assert bool(torch.isfinite(minus).all())


def linear_policy() -> tuple[torch.nn.Linear, torch.Tensor, torch.Tensor]:
    torch.manual_seed(3)
    layer = torch.nn.Linear(4, 6).double()
    x = torch.randn(5, 4, dtype=torch.float64)
    logp = torch.log_softmax(layer(x), -1)
    return layer, logp[:, 0], logp[:, 1]


def test_pair_gradients_row_by_row():
    layer, chosen, rejected = linear_policy()
    up, down = pair_gradients(chosen, rejected, layer.parameters())
    assert up.shape == down.shape == (5, 4 * 6 + 6)
    (weight, bias) = torch.autograd.grad(chosen[2] + 0 * rejected.sum(), list(layer.parameters()))
    assert torch.allclose(up[2], torch.cat([weight.reshape(-1), bias]))
    with pytest.raises(GuerdonError, match="graph"):
        pair_gradients(chosen.detach(), rejected, layer.parameters())


def test_u1_and_u2_predict_one_small_step_of_dpo_shift():
    """g1 = (1 − f) u1 and g2 = (1 − f) u2 for one pair, against two steps really taken."""
    layer, chosen, rejected = linear_policy()
    beta, gamma, lr, f, at = 0.5, 2.0, 1e-4, 0.6, 1
    up, down = pair_gradients(chosen, rejected, layer.parameters())
    zero = torch.zeros(5, dtype=torch.float64)
    terms = shift_terms(up, down, zero, beta, gamma, lr)
    before = chosen.detach(), rejected.detach()
    # One step from the reference (h = 0): both losses have σ(−βh) = ½ there.
    step = {s: lr * beta * 0.5 * (up[at] - s * down[at]) for s in (1.0, f)}
    after = {}
    for s, move in step.items():
        moved = torch.nn.Linear(4, 6).double()
        whole = torch.cat([p.detach().reshape(-1) for p in layer.parameters()]) + move
        torch.nn.utils.vector_to_parameters(whole, moved.parameters())
        torch.manual_seed(3)
        torch.nn.Linear(4, 6).double()
        x = torch.randn(5, 4, dtype=torch.float64)
        logp = torch.log_softmax(moved(x), -1)[at].detach()
        h = (logp[0] - before[0][at]) - (logp[1] - before[1][at])
        after[s] = logp[0].item(), torch.sigmoid(gamma * h).item()
    assert after[f][0] - after[1.0][0] == pytest.approx((1 - f) * terms.u1[at].item(), rel=1e-3)
    assert after[f][1] - after[1.0][1] == pytest.approx((1 - f) * terms.u2[at].item(), rel=1e-3)


def test_identical_responses_gain_nothing_and_lose_nothing():
    g = torch.tensor([[1.0, 2.0]])
    same = shift_terms(g, g, torch.zeros(1), 0.1)
    assert same.u1.item() == pytest.approx(0.05 * 5.0) and same.u2.item() == 0.0
    across = shift_terms(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]]), torch.zeros(1), 0.1)
    assert across.u1.item() == 0.0 and across.u2.item() == pytest.approx(-0.05 * 0.25)
    assert across.summary() == {
        "u1": 0.0,
        "u2": pytest.approx(-0.0125),
        "share_u1_positive": 0.0,
        "share_u2_negative": 1.0,
    }


def test_the_three_dots_of_dpo_at_the_start():
    """At ρ = 0 the push is β/2 on both sides."""
    found = pair([-1.0, -2.0], [-1.0, -2.0])
    assert found.steps is not None
    (push,) = torch.autograd.grad(dpo(0.1).loss(found).value, found.steps.logp["policy"])
    log = torch.tensor([-1.0]), torch.tensor([-2.0])
    plus, minus = probability_gradients(*log, *log, 0.1)
    assert push[:, 0].tolist() == pytest.approx([plus.item() * math.exp(-1), minus.item() * math.exp(-2)], abs=1e-7)


def test_u1_and_u2_of_a_linear_policy_are_those_of_its_features():
    """There ∇log π(y) = φ(y) − E φ, so both come from features alone; u2 is below 0 wherever the two differ enough."""
    key = Seed(5)
    bed = finite(key, prompts=3, responses=12, features=4)
    compared = compare(bed, 40, key)
    _, snapshots = bed.fresh()
    with snapshots.using("policy") as module:
        logp = module().log_softmax(-1)
        up, down = pair_gradients(
            logp[compared.prompt, compared.winner], logp[compared.prompt, compared.loser], module.parameters()
        )
    mean = torch.einsum("xy,xyf->xf", bed.reference.exp(), bed.features)[compared.prompt]
    centred = [bed.features[compared.prompt, side] - mean for side in (compared.winner, compared.loser)]
    assert torch.allclose(up, centred[0], atol=1e-5) and torch.allclose(down, centred[1], atol=1e-5)
    terms = shift_terms(up, down, torch.zeros(40), 0.1)
    dot = (centred[0] * centred[1]).sum(-1)
    assert torch.equal(terms.u1 > 0, dot > 0)
    assert torch.equal(terms.u2 < 0, dot < centred[1].square().sum(-1))
    told = terms.summary()
    assert 0 < told["share_u1_positive"] < 1 and told["share_u2_negative"] > 0.5
