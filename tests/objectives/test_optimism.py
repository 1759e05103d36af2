"""Hand values and identities of VPO, RPO, SELM, XPO and SFT-DPO (cards 147, 157, 168, 186)."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from guerdon.batch import Batch, Pairs, Steps
from guerdon.errors import GuerdonError
from guerdon.objectives import Objective, dpo, expectation, relative_expectation, rpo, selm, sft_dpo, vpo, xpo
from guerdon.worlds.finite import exact

T1 = 0.644397
"""−log σ(0.1), the toy pair of the cards at β 0.1."""


def batch() -> Batch:
    """T1: log π −1 and −2, references −1.5; the winner has two tokens. Row 2, drawn by the reference, has ρ = 0.3."""
    nan = float("nan")
    policy = torch.tensor([[-0.6, -0.4], [-2.0, nan], [-1.0, -0.2]]).requires_grad_()
    reference = torch.tensor([[-0.75, -0.75], [-1.5, nan], [-0.5, -1.0]])
    mask = torch.tensor([[True, True], [True, False], [True, True]])
    steps = Steps(mask, {"policy": policy, "reference": reference})
    return Batch(steps, pairs=Pairs(torch.tensor([0]), torch.tensor([1])), rows={"reference": torch.tensor([2])})


def value(objective: Objective) -> float:
    return objective.loss(batch()).value.item()


def gradient(objective: Objective) -> Tensor:
    made = batch()
    assert made.steps is not None
    (found,) = torch.autograd.grad(objective.loss(made).value, made.steps.logp["policy"])
    return found


def test_vpo_by_hand():
    assert value(vpo(0.1, 0.5, -1.0, "reference")) == pytest.approx(0.629397, abs=1e-6)
    assert value(vpo(0.1, 0.5, 1.0, "reference")) == pytest.approx(0.659397, abs=1e-6)
    assert value(vpo(0.1, 0.0)) == pytest.approx(T1, abs=1e-6)
    assert torch.equal(gradient(vpo(0.1, 0.0)), gradient(dpo(0.1)))


def test_selm_by_hand():
    assert value(selm(0.1, 0.5)) == pytest.approx(0.659397, abs=1e-6)
    assert value(selm(0.1, 0.0)) == pytest.approx(T1, abs=1e-6)
    assert gradient(selm(0.1, 0.5))[2].tolist() == pytest.approx([0.05, 0.05], abs=1e-7)  # +αβ on log π(y′)


def test_a_bonus_on_the_loser_is_a_stronger_push_on_it():
    pushed = gradient(vpo(0.1, 0.5, 1.0, "loser"))[1, 0] - gradient(dpo(0.1))[1, 0]
    assert pushed.item() == pytest.approx(0.05, abs=1e-7)


def test_xpo_by_hand():
    """No β and no log π_ref in the bonus, as in TRL's XPOTrainer: α·Σ log π(y′)."""
    assert value(xpo(0.1, 0.5)) == pytest.approx(T1 - 0.6, abs=1e-6)
    assert gradient(xpo(0.1, 0.5))[2].tolist() == pytest.approx([0.5, 0.5], abs=1e-7)
    assert torch.allclose(gradient(xpo(0.1, 0.05)), gradient(selm(0.1, 0.5)), atol=1e-8)  # α = αβ


def test_rpo_by_hand():
    assert value(rpo(0.1, 1.0)) == pytest.approx(0.744397, abs=1e-6)
    assert value(rpo(0.1, 0.0)) == pytest.approx(T1, abs=1e-6)
    nll, margin = 0.5, math.log1p(math.exp(-0.5))
    assert value(rpo(0.5, 0.2, "average", False)) == pytest.approx(margin + 0.2 * nll, abs=1e-6)
    assert value(rpo(0.5, 0.2, "average", True)) == pytest.approx(margin + 0.2 * 0.5 * nll, abs=1e-6)


def test_rpo_pulls_the_winner_by_eta_beta_beside_dpo():
    beta, eta = 0.1, 0.3
    expected = -beta / (1 + math.exp(beta)) - eta * beta
    assert gradient(rpo(beta, eta))[0].tolist() == pytest.approx([expected, expected], abs=1e-7)


def test_vpo_calibrated_on_winners_is_rpo_up_to_a_constant():
    ours, theirs = vpo(0.1, 0.7), rpo(0.1, 0.7)
    assert torch.allclose(gradient(ours), gradient(theirs), atol=1e-8)
    constant = 0.7 * 0.1 * -1.5  # αβ·log π_ref(y_w)
    assert value(ours) - value(theirs) == pytest.approx(constant, abs=1e-6)


def test_sft_dpo_keeps_pushing_the_chosen_response():
    assert value(sft_dpo(0.1, 0.0)) == pytest.approx(T1, abs=1e-6)
    assert value(sft_dpo(0.1, 0.5)) == pytest.approx(T1 + 0.5, abs=1e-6)
    made = batch()
    assert made.steps is not None
    with torch.no_grad():
        made.steps.logp["policy"][1, 0] = -1e4  # the rejected response is gone, and DPO's own push with it
    (found,) = torch.autograd.grad(sft_dpo(0.1, 0.5).loss(made).value, made.steps.logp["policy"])
    assert found[0].tolist() == pytest.approx([-0.5, -0.5], abs=1e-7)
    (found,) = torch.autograd.grad(dpo(0.1).loss(made).value, made.steps.logp["policy"])
    assert found[0].tolist() == pytest.approx([0.0, 0.0], abs=1e-7)


@pytest.mark.parametrize(
    ("objective", "beta", "coefficient", "names"),
    [
        (vpo(), 0.1, 0.01, ("dpo", "pessimism")),
        (vpo(sign=1.0), 0.1, 0.01, ("dpo", "optimism")),
        (selm(), 0.01, 1e-5, ("dpo", "optimism")),
        (xpo(), 0.1, 1e-5, ("dpo", "xpo")),
        (rpo(), 0.01, 5e-5, ("dpo", "nll")),
        (sft_dpo(), 0.1, 0.01, ("dpo", "nll")),
    ],
)
def test_the_defaults(objective: Objective, beta: float, coefficient: float, names: tuple[str, ...]):
    assert tuple(t.name for t in objective.terms) == names
    assert objective.terms[1].coefficient == pytest.approx(coefficient, rel=1e-9)
    parts = objective.loss(batch()).parts
    assert parts["dpo"].item() == value(dpo(beta))


def test_what_each_one_reads():
    policy, reference = "steps.logp.policy", "steps.logp.reference"
    assert vpo().needs == ("pairs", policy, reference)
    assert vpo(rows="loser").needs == ("pairs", policy, reference)
    assert selm().needs == xpo().needs == ("pairs", policy, reference, "rows.reference")
    assert relative_expectation(of="a", to="b", name="c").needs == ("steps.logp.a", "steps.logp.b", "pairs")


def test_the_plain_term_raises_the_winners_ratio_of_rows_with_steps():
    assert value(relative_expectation()) == pytest.approx(0.5, abs=1e-6)
    assert value(relative_expectation(rows="loser")) == pytest.approx(-0.5, abs=1e-6)
    made = batch()
    assert made.steps is not None
    mask = made.steps.mask.clone()
    mask[1] = False
    rows = {"some": torch.tensor([0, 1, 2])}
    part = relative_expectation(rows="some").loss(Batch(Steps(mask, made.steps.logp), rows=rows))
    assert part.value.item() == pytest.approx((0.5 + 0.3) / 2, abs=1e-6)  # the row without a step does not count
    total, count = part.metrics["value/log_ratio"]
    assert (total.item(), count.item()) == (pytest.approx(0.8, abs=1e-6), 2.0)


def test_the_floor_ends_the_push():
    made = batch()
    assert made.steps is not None
    for floor, slope in ((0.0, 1.0), (0.5, 1.0)):
        objective = relative_expectation(1.0, "reference", floor)
        (found,) = torch.autograd.grad(objective.loss(made).value, made.steps.logp["policy"], retain_graph=True)
        assert found[2].tolist() == [slope, slope]  # ρ = 0.3 lies above both floors
    with torch.no_grad():
        made.steps.logp["policy"][2, 0] -= 1.0  # ρ = −0.7
    floored = relative_expectation(1.0, "reference", 0.5).loss(made)
    assert floored.value.item() == -0.5
    (found,) = torch.autograd.grad(floored.value, made.steps.logp["policy"])
    assert found[2].tolist() == [0.0, 0.0]
    total, count = floored.metrics["value/log_ratio"]
    assert (total / count).item() == pytest.approx(-0.7, abs=1e-6)


def test_it_is_expectation_with_the_reference_taken_off():
    both = value(relative_expectation(-1.0, "winner")), value(expectation(-1.0, "winner", "total"))
    assert both[0] - both[1] == pytest.approx(-1.5, abs=1e-6)


def test_likelihood_of_the_losers_is_another_thing():
    made = batch()
    assert made.steps is not None and made.pairs is not None
    total = torch.where(made.steps.mask, made.steps.logp["policy"], 0.0).sum(-1)
    for side in ("winner", "loser"):
        expected = total[getattr(made.pairs, side)].mean().item()
        assert value(expectation(1.0, side, "total")) == pytest.approx(expected, abs=1e-6)
    assert total[made.pairs.winner].mean() != total[made.pairs.loser].mean()


def test_the_reference_is_never_trained():
    reference = torch.full((2, 1), -1.5, requires_grad=True)
    steps = Steps(torch.ones(2, 1, dtype=torch.bool), {"policy": torch.ones(2, 1) * -1, "reference": reference})
    one = Batch(steps, pairs=Pairs(torch.tensor([0]), torch.tensor([1])))
    assert not vpo(0.1, 0.5).loss(one).value.requires_grad


def test_a_round_without_the_references_rows_is_plain_dpo():
    made = batch()
    empty = Batch(made.steps, pairs=made.pairs, rows={"reference": torch.zeros(0, dtype=torch.int64)})
    assert selm(0.1, 0.5).loss(empty).value.item() == pytest.approx(T1, abs=1e-6)


def test_options_are_checked():
    with pytest.raises(GuerdonError, match="pessimism"):
        vpo(sign=0.5)
    with pytest.raises(GuerdonError, match="at least 0"):
        relative_expectation(floor=-1.0)


def arms() -> tuple[Tensor, Tensor, Tensor]:
    """(log π_ref, baseline or calibration law, reward) of three arms, float64."""
    reference = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64).log()
    base = torch.tensor([0.2, 0.2, 0.6], dtype=torch.float64)
    return reference, base, torch.tensor([0.7, -0.4, 1.1], dtype=torch.float64)


def test_the_value_of_a_calibrated_reward_is_minus_beta_times_the_mean_log_ratio():
    """J*(r) = −β E_cal log(π_r/π_ref) once E_cal r = 0: why one signed likelihood term is optimism or pessimism."""
    reference, calibration, reward = arms()
    calibrated = reward - (calibration * reward).sum()
    for beta in (0.1, 1.0, 5.0):
        policy = exact.tilted(reference, calibrated, beta)
        value = exact.log_partition(reference, calibrated, beta)
        assert value.item() == pytest.approx(-beta * (calibration * (policy - reference)).sum().item(), abs=1e-12)


def solved(loss: Callable[[Tensor], Tensor]) -> tuple[Tensor, float]:
    """Where a convex function of three numbers is least, and its value there."""
    at = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([at], max_iter=200, tolerance_grad=1e-12, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimiser.zero_grad()
        out = loss(at)
        out.backward()
        return out

    optimiser.step(closure)
    return at.detach(), loss(at).item()


def test_rpo_is_the_maximin_against_the_worst_plausible_reward():
    """max_π min_r {η(E_π r − E_base r − β KL) + ℓ(r)} is the least RPO loss plus ηβ E_base log π_ref, at the same π."""
    reference, base, _ = arms()
    eta, beta = 0.4, 0.5
    won, lost = torch.tensor([0, 2, 0, 1]), torch.tensor([1, 0, 2, 2])

    def likelihood(r: Tensor) -> Tensor:
        return -torch.nn.functional.logsigmoid(r[won] - r[lost]).mean()

    def policy_form(logits: Tensor) -> Tensor:
        policy = torch.log_softmax(reference + logits, -1)
        constant = eta * beta * (base * reference).sum()
        return eta * beta * (base * -policy).sum() + likelihood(beta * (policy - reference)) + constant

    found, least = solved(policy_form)
    policy = torch.log_softmax(reference + found, -1)

    def against(r: Tensor) -> Tensor:
        """What the adversary minimises against that policy; a small pull fixes the shift, which nothing sees."""
        gain = (policy.exp() * r).sum() - (base * r).sum()
        kl = (policy.exp() * (policy - reference)).sum()
        return eta * (gain - beta * kl) + likelihood(r) + 1e-9 * r.mean().square()

    worst, value = solved(against)
    assert value == pytest.approx(least, abs=1e-8)
    assert torch.allclose(exact.tilted(reference, worst, beta), policy, atol=1e-5)  # the policy answers that reward
