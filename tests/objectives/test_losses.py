"""Hand values of the losses (cards 139, 144, 169) and what the peers got wrong about them."""

import math

import pytest
import torch

from guerdon.batch import Batch, Pairs, Steps
from guerdon.errors import GuerdonError
from guerdon.objectives import (
    bradley_terry_loss,
    clipped,
    dpo,
    hinge,
    ipo_mean,
    ipo_sum,
    log_ratio,
    logistic,
    pairwise,
    reinforce,
    scaled,
    simpo,
    value_loss,
    weighted_log_ratio,
)


def pair(policy, reference=None, lengths=(1, 1), **more) -> Batch:
    """One pair, row 0 preferred; totals are spread evenly over the given lengths."""
    width = max(lengths)
    mask = torch.tensor([[i < n for i in range(width)] for n in lengths])

    def table(totals):
        return torch.tensor([[t / n] * width for t, n in zip(totals, lengths, strict=True)])

    logp = {"policy": table(policy).requires_grad_()}
    if reference is not None:
        logp["reference"] = table(reference)
    return Batch(Steps(mask, logp), pairs=Pairs(torch.tensor([0]), torch.tensor([1]), **more))


T1 = ([-1.0, -2.0], [-1.5, -1.5])


def value(objective, batch) -> float:
    return objective.loss(batch).value.item()


def test_dpo_by_hand():
    assert value(dpo(0.1), pair(*T1)) == pytest.approx(0.644397, abs=1e-6)
    smooth = 0.9 * -math.log(1 / (1 + math.exp(-0.1))) + 0.1 * -math.log(1 / (1 + math.exp(0.1)))
    assert value(dpo(0.1, smoothing=0.1), pair(*T1)) == pytest.approx(smooth, abs=1e-6)
    assert value(dpo(0.1), pair(*T1, margin=torch.tensor([0.1]))) == pytest.approx(math.log(2), abs=1e-6)


def test_dpo_is_blind_to_a_shift_of_both_log_ratios():
    """The prompt constant β log Z(x) cancels."""
    assert value(dpo(0.1), pair([-1.0, -2.0], [-4.5, -4.5])) == pytest.approx(0.644397, abs=1e-6)


def test_ipo_sum_and_mean_are_two_objectives():
    """TRL averages in DPO and CPO and sums in OnlineDPO: the same β means a gap a token or a gap a response."""
    batch = pair([-2.0, -4.0], [-3.0, -3.0], lengths=(2, 4))
    assert value(ipo_sum(0.1), pair(*T1)) == pytest.approx(16.0, abs=1e-5)
    assert value(ipo_sum(0.1), batch) == pytest.approx((2 - 5) ** 2, abs=1e-5)
    assert value(ipo_mean(0.1), batch) == pytest.approx((0.5 + 0.25 - 5) ** 2, abs=1e-5)


def test_what_is_logged_of_a_pair():
    """ρ = ½ and −½ times β."""
    found = {k: float(a / b) for k, (a, b) in dpo(0.1).loss(pair(*T1)).metrics.items()}
    expected = {"chosen": 0.05, "rejected": -0.05, "margin": 0.1, "accuracy": 1.0}
    assert found == pytest.approx({f"dpo/{k}": v for k, v in expected.items()}, abs=1e-7)


def test_hinge_on_log_ratios():
    assert value(pairwise(scaled(2.0, log_ratio()), hinge()), pair(*T1)) == 0.0
    assert value(pairwise(scaled(0.05, log_ratio()), hinge()), pair(*T1)) == pytest.approx(0.95, abs=1e-6)


def test_weights_of_steps_are_not_read_under_the_mask():
    batch = pair(*T1, lengths=(1, 2))
    steps = batch.read("steps")
    weights = torch.where(steps.mask, 2.0, torch.nan)
    loss = pairwise(weighted_log_ratio(lambda b, sign: weights, ()), logistic()).loss(batch).value
    (slope,) = torch.autograd.grad(loss, steps.logp["policy"])
    assert loss.item() == pytest.approx(math.log1p(math.exp(-2.0)), abs=1e-6) and bool(torch.isfinite(slope).all())


def test_simpo_by_hand():
    assert value(simpo(2.0, 1.0), pair([-1.0, -2.0], lengths=(2, 4))) == pytest.approx(1.313262, abs=1e-6)
    assert value(simpo(2.0, 1.5), pair([-1.0, -2.0], lengths=(2, 4))) > 1.313262  # a larger margin costs more


def test_simpo_without_margin_is_reference_free_dpo_with_beta_over_length():
    batch = pair([-1.0, -2.0], [0.0, 0.0], lengths=(4, 4))
    assert value(simpo(2.0, 0.0), batch) == pytest.approx(value(dpo(0.5), batch), abs=1e-6)


def test_simpo_ignores_repeated_tokens():
    once, thrice = pair([-1.0, -2.0], lengths=(2, 4)), pair([-3.0, -6.0], lengths=(6, 12))
    assert value(simpo(), once) == pytest.approx(value(simpo(), thrice), abs=1e-6)


def test_reward_model_loss_survives_confident_mistakes():
    """OpenRLHF's LogExpLoss overflows above a gap of 88; imitation's gradient explodes at −17 and dies at −40."""
    for gap in (-1e4, -40.0, -17.0, 17.0, 1e4):
        heads = torch.tensor([gap, 0.0], requires_grad=True)
        batch = Batch(heads={"reward": heads}, pairs=Pairs(torch.tensor([0]), torch.tensor([1])))
        loss = bradley_terry_loss().loss(batch).value
        (found,) = torch.autograd.grad(loss, heads)
        expected = 1 / (1 + math.exp(gap)) if gap < 700 else 0.0
        assert found.tolist() == pytest.approx([-expected, expected], abs=1e-7)
        assert math.isfinite(loss.item())


def test_accuracy_counts_a_tie_as_half():
    heads = torch.tensor([1.0, 0.0, 0.5, 0.5])
    batch = Batch(heads={"reward": heads}, pairs=Pairs(torch.tensor([0, 2]), torch.tensor([1, 3])))
    total, count = bradley_terry_loss().loss(batch).metrics["bradley_terry/accuracy"]
    assert (total / count).item() == 0.75


def test_pair_weights_enter_numerator_and_denominator():
    heads = torch.tensor([1.0, 0.0, 0.0, 0.0])
    pairs = Pairs(torch.tensor([0, 2]), torch.tensor([1, 3]), weight=torch.tensor([3.0, 1.0]))
    expected = (3 * math.log1p(math.exp(-1)) + math.log(2)) / 4
    assert value(bradley_terry_loss(), Batch(heads={"reward": heads}, pairs=pairs)) == pytest.approx(expected, abs=1e-6)


def online(ratio: list[float], gain: list[float], value_head: list[float] | None = None) -> Batch:
    """One row a step, π_old = e^0, π = ratio."""
    logp = torch.tensor(ratio).log()[None].requires_grad_()
    ones = torch.ones(1, len(ratio), dtype=torch.bool)
    stats = (
        {}
        if value_head is None
        else {"value:total": torch.tensor([value_head]), "old_value:total": torch.zeros(1, len(ratio))}
    )
    both = {"total": torch.tensor([gain])}
    return Batch(Steps(ones, {"policy": logp, "old": torch.zeros_like(logp)}, stats), advantages=both, returns=both)


def test_clipped_surrogate_case_by_case():
    for ratio, gain, expected in [
        (1.5, 1.0, -1.2),
        (0.5, 1.0, -0.5),
        (1.5, -1.0, 1.5),
        (0.5, -1.0, 0.8),
        (1.1, 2.0, -2.2),
    ]:
        assert value(clipped(0.2), online([ratio], [gain])) == pytest.approx(expected, abs=1e-6)
    assert value(clipped(0.2, high=0.3), online([1.5], [1.0])) == pytest.approx(-1.3, abs=1e-6)  # clip-higher
    assert value(clipped(0.2, dual=3.0), online([5.0], [-1.0])) == pytest.approx(
        3.0, abs=1e-6
    )  # slime 78156c53c lost it
    assert value(clipped(0.2, dual=3.0), online([2.0], [-1.0])) == pytest.approx(2.0, abs=1e-6)


def test_the_first_step_is_reinforce():
    """Ratio exactly 1 and REINFORCE's gradient (trl#454, verl#6280, prime-rl#568)."""
    batch = online([1.0, 1.0], [0.7, -0.3])
    for objective in (clipped(), clipped(level="sequence")):
        (found,) = torch.autograd.grad(objective.loss(batch).value, batch.steps.logp["policy"])
        (expected,) = torch.autograd.grad(reinforce().loss(batch).value, batch.steps.logp["policy"])
        if objective.terms[0].name == "clipped" and found.std() > 0:
            assert torch.allclose(found, expected, atol=1e-7)
        assert found.sum().item() == pytest.approx(expected.sum().item(), abs=1e-7)


def test_sequence_ratio_is_the_geometric_mean_with_gradient():
    batch = online([2.0, 0.5], [1.0, 1.0])
    loss = clipped(level="sequence").loss(batch)
    assert loss.value.item() == pytest.approx(-1.0, abs=1e-6)
    (found,) = torch.autograd.grad(loss.value, batch.steps.logp["policy"])
    assert found.tolist()[0] == pytest.approx([-0.5, -0.5], abs=1e-6)


def test_clip_fraction_counts_only_where_the_clip_acts():
    metrics = clipped(0.2).loss(online([1.5, 1.5, 0.5, 1.0], [1.0, -1.0, -1.0, 1.0])).metrics
    total, count = metrics["clipped/clip_fraction"]
    assert (total.item(), count.item()) == (2.0, 4.0)


def test_value_loss_by_hand():
    assert value(value_loss(), online([1.0], [1.0], [0.4])) == pytest.approx(0.5 * 0.36, abs=1e-6)
    assert value(value_loss(clip=0.1), online([1.0], [1.0], [0.4])) == pytest.approx(0.5 * 0.81, abs=1e-6)


def test_a_clipped_value_is_held_on_both_sides_of_what_it_was():
    """From 0.5 to 0.9 and to 0.1 with a clip of 0.1, returns 1 and 0: the larger errors are those of 0.6 and 0.4."""
    value_now = torch.tensor([[0.9], [0.1]], requires_grad=True)
    others = {"old": torch.full((2, 1), 0.5, requires_grad=True), "return": torch.tensor([[1.0], [0.0]])}
    others["return"].requires_grad_()
    stats = {"value:total": value_now, "old_value:total": others["old"]}
    batch = Batch(Steps(torch.ones(2, 1, dtype=torch.bool), {}, stats), returns={"total": others["return"]})
    loss = value_loss(clip=0.1).loss(batch).value
    assert loss.item() == pytest.approx(0.5 * 0.16, abs=1e-6)
    assert torch.autograd.grad(loss, (value_now,), retain_graph=True)[0].tolist() == [[0.0], [0.0]]
    plain = value_loss(clip=1.0).loss(batch).value
    found = torch.autograd.grad(plain, (value_now, *others.values()), allow_unused=True)
    assert found[0][:, 0].tolist() == pytest.approx([-0.05, 0.05], abs=1e-7) and found[1] is found[2] is None


def test_options_are_checked():
    with pytest.raises(GuerdonError, match="'token' or 'sequence'"):
        clipped(level="row")
    with pytest.raises(GuerdonError, match="exceed 1"):
        clipped(dual=0.5)


def test_the_reference_is_never_trained():
    """Even where its log-probs carry a gradient (a reference that shares weights with the policy)."""
    for objective in (dpo(0.1), ipo_sum(), ipo_mean()):
        reference = torch.full((2, 1), -1.5, requires_grad=True)
        steps = Steps(
            torch.ones(2, 1, dtype=torch.bool), {"policy": torch.tensor([[-1.0], [-2.0]]), "reference": reference}
        )
        batch = Batch(steps, pairs=Pairs(torch.tensor([0]), torch.tensor([1])))
        assert not objective.loss(batch).value.requires_grad
