"""Likelihoods of comparisons: by hand, at the extremes, and with the sides swapped."""

import itertools
import math

import pytest
import torch

from guerdon.errors import GuerdonError
from guerdon.preferences import (
    bradley_terry,
    centring_penalty,
    davidson,
    davidson_log_probs,
    magnitude_penalty,
    margin_regression,
    outcomes,
    plackett_luce,
    preference_probability,
    rao_kupper,
    rao_kupper_log_probs,
    regression,
)

NAN = float("nan")
GAPS = [0.0, 1e-3, 1.0, 11.5, 17.0, 20.0, 40.0, 88.8, 1e4]


def with_gradient(loss, *inputs: float, **options) -> tuple[float, list[float]]:  # type: ignore[no-untyped-def]
    z = [torch.tensor([x], requires_grad=True) for x in inputs]
    value = loss(*z, **options)
    value.sum().backward()
    return value.item(), [x.grad.item() for x in z]  # type: ignore[union-attr]


def test_by_hand() -> None:
    """Card 71: Δ = 0.5, m = 2: regular 0.4741, margin 1.7014, scaled 0.9482."""
    z_w, z_l = torch.tensor([0.75]), torch.tensor([0.25])
    assert bradley_terry(z_w, z_l).item() == pytest.approx(0.4741, abs=5e-5)
    assert bradley_terry(z_w, z_l, margin=2.0).item() == pytest.approx(1.7014, abs=5e-5)
    assert bradley_terry(z_w, z_l, scale=2.0).item() == pytest.approx(0.9482, abs=5e-5)
    assert bradley_terry(z_w, z_l, temperature=0.5).item() == pytest.approx(math.log1p(math.exp(-1.0)), abs=1e-6)


def test_scale_multiplies_the_gradient_and_temperature_the_gap() -> None:
    _, plain = with_gradient(bradley_terry, 0.75, 0.25)
    _, scaled = with_gradient(bradley_terry, 0.75, 0.25, scale=3.0)
    _, weighted = with_gradient(bradley_terry, 0.75, 0.25, weight=3.0)
    assert scaled == pytest.approx([3 * g for g in plain]) and weighted == scaled
    _, sharp = with_gradient(bradley_terry, 0.75, 0.25, temperature=0.5)
    assert sharp[0] == pytest.approx(-2 / (1 + math.exp(1.0)))


@pytest.mark.parametrize("gap", [*GAPS, *(-g for g in GAPS)])
def test_value_and_gradient_are_exact_at_every_gap(gap: float) -> None:
    """imitation: P in float32 then cross-entropy gave gradient 41,399 at Δ = −17 and 0 at −40; OpenRLHF's LogExpLoss
    overflows beyond 88."""
    value, (g_w, g_l) = with_gradient(bradley_terry, gap, 0.0)
    exact = max(-gap, 0.0) + math.log1p(math.exp(-abs(gap)))
    slope = -math.exp(-max(gap, 0.0)) / (1 + math.exp(-abs(gap)))
    assert value == pytest.approx(exact, rel=2e-6)
    assert g_w == pytest.approx(slope, rel=2e-6, abs=1e-38) and g_l == -g_w


@pytest.mark.parametrize("gap", [*GAPS, *(-g for g in GAPS)])
@pytest.mark.parametrize("p", [0.0, 0.3, 0.5, 1.0])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_swapping_the_sides_swaps_the_gradients(gap: float, p: float, smoothing: float) -> None:
    a, (a_w, a_l) = with_gradient(bradley_terry, gap, 0.0, preferred=p, margin=0.25, smoothing=smoothing)
    b, (b_w, b_l) = with_gradient(bradley_terry, 0.0, gap, preferred=1 - p, margin=-0.25, smoothing=smoothing)
    assert b == pytest.approx(a, rel=1e-6)
    assert [b_l, b_w] == pytest.approx([a_w, a_l], rel=1e-5, abs=1e-7)


def test_a_tie_pushes_nothing_and_pulls_equally() -> None:
    _, gradients = with_gradient(bradley_terry, 2.5, 2.5, preferred=0.5)
    assert gradients == [0.0, 0.0]
    _, (g_w, g_l) = with_gradient(bradley_terry, 3.0, 0.0, preferred=0.5)
    assert g_w > 0 > g_l and g_w == -g_l
    assert preference_probability(torch.tensor([7.0]), torch.tensor([7.0])).item() == 0.5


def test_soft_labels_are_mixtures_and_smoothing_is_a_soft_label() -> None:
    z_w, z_l = torch.randn(9).double(), torch.randn(9).double()
    p = torch.rand(9).double()
    mixture = p * bradley_terry(z_w, z_l) + (1 - p) * bradley_terry(z_l, z_w)
    torch.testing.assert_close(bradley_terry(z_w, z_l, preferred=p), mixture)
    torch.testing.assert_close(
        bradley_terry(z_w, z_l, smoothing=0.1), bradley_terry(z_w, z_l, preferred=torch.tensor(0.9).double()),
        rtol=1e-6, atol=1e-7,
    )  # fmt: skip
    with pytest.raises(GuerdonError, match="flipped"):
        bradley_terry(z_w, z_l, smoothing=0.9)


def test_the_loss_is_least_at_the_labelled_probability() -> None:
    z = torch.tensor([math.log(0.8 / 0.2)], dtype=torch.float64, requires_grad=True)
    bradley_terry(z, torch.zeros(1).double(), preferred=0.8).sum().backward()
    assert z.grad is not None and abs(z.grad.item()) < 1e-12
    assert preference_probability(z.detach(), torch.zeros(1).double()).item() == pytest.approx(0.8)
    assert preference_probability(torch.tensor([3.0]), torch.tensor([1.0]), margin=2.0).item() == 0.5
    cool = preference_probability(torch.tensor([3.0]), torch.tensor([1.0]), margin=0.5, temperature=0.5)
    assert cool.item() == pytest.approx(1 / (1 + math.exp(-3.0)))


def test_penalties() -> None:
    z_w, z_l = torch.tensor([3.0]), torch.tensor([-1.0])
    assert centring_penalty(z_w, z_l).item() == 4.0
    assert magnitude_penalty(z_w, z_l).item() == 10.0
    assert centring_penalty(z_w, -z_w).item() == 0.0


@pytest.mark.parametrize("gap", [*GAPS, *(-g for g in GAPS)])
def test_tie_models_are_distributions_and_swap(gap: float) -> None:
    z_1, z_2 = torch.tensor([gap]), torch.tensor([0.0])
    for log_probs in (lambda a, b: rao_kupper_log_probs(a, b, 0.7), lambda a, b: davidson_log_probs(a, b, 1.5)):
        here, there = log_probs(z_1, z_2), log_probs(z_2, z_1)
        assert here.exp().sum().item() == pytest.approx(1.0, abs=2e-6)
        assert bool(here.isfinite().all())
        torch.testing.assert_close(here.flip(-1), there)


def test_tie_models_by_hand() -> None:
    # θ = e^τ = 2, equal strengths: π/(π + 2π) = 1/3 each, a tie 1/3
    even = rao_kupper_log_probs(torch.zeros(1).double(), torch.zeros(1).double(), math.log(2.0)).exp()
    assert even[0].tolist() == pytest.approx([1 / 3] * 3)
    # π_1 = 3 π_2: 3/(3+2), 1/(1+6), (4−1)·3/((3+2)(6+1))
    odd = rao_kupper_log_probs(torch.tensor([math.log(3.0)]).double(), torch.zeros(1).double(), math.log(2.0)).exp()
    assert odd[0].tolist() == pytest.approx([3 / 5, 9 / 35, 1 / 7])
    # ν = 2: 4/(4+1+2·2), 4/9, 1/9
    dav = davidson_log_probs(torch.tensor([math.log(4.0)]).double(), torch.zeros(1).double(), 2.0).exp()
    assert dav[0].tolist() == pytest.approx([4 / 9, 4 / 9, 1 / 9])


def test_tie_losses() -> None:
    label = outcomes(torch.tensor([1.0, 1.0, 0.25]), torch.tensor([False, True, False]))
    assert label.tolist() == [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.25, 0.0, 0.75]]
    z_1 = torch.tensor([0.0, 2.0, 0.0], requires_grad=True)
    loss = rao_kupper(z_1, torch.zeros(3), label, math.log(2.0))
    loss.sum().backward()
    assert z_1.grad is not None
    assert loss[0].item() == pytest.approx(math.log(3.0), abs=1e-6)
    assert z_1.grad[1].item() > 0  # a tie pulls the scores together
    _, gradients = with_gradient(lambda a, b: davidson(a, b, torch.tensor([[0.0, 1.0, 0.0]]), 1.0), 1.5, 1.5)
    assert gradients == pytest.approx([0.0, 0.0], abs=1e-7)
    small = rao_kupper(torch.ones(1), torch.zeros(1), torch.tensor([[1.0, 0.0, 0.0]]), 1e-6)
    assert small.item() == pytest.approx(bradley_terry(torch.ones(1), torch.zeros(1)).item(), abs=1e-5)
    with pytest.raises(GuerdonError, match="above 0"):
        rao_kupper(z_1, z_1, label, 0.0)
    with pytest.raises(GuerdonError, match="above 0"):
        davidson(z_1, z_1, label, 0.0)
    with pytest.raises(GuerdonError, match="tie"):
        davidson(z_1, z_1, torch.ones(3), 1.0)


@pytest.mark.parametrize("gap", [*GAPS, *(-g for g in GAPS)])
def test_a_ranking_of_two_is_a_pair(gap: float) -> None:
    ranking, mask = torch.tensor([[1, 0]]), torch.ones(1, 2, dtype=torch.bool)
    scores = torch.tensor([[0.0, gap]], requires_grad=True)
    loss = plackett_luce(scores, ranking, mask)
    loss.sum().backward()
    value, (g_w, g_l) = with_gradient(bradley_terry, gap, 0.0)
    assert loss.item() == pytest.approx(value, rel=1e-6)
    assert scores.grad is not None and scores.grad[0].tolist() == pytest.approx([g_l, g_w], rel=1e-6, abs=1e-38)


def test_rankings_by_hand_and_ragged() -> None:
    scores = torch.log(torch.tensor([[1.0, 2.0, 5.0], [1.0, 3.0, NAN], [4.0, NAN, NAN]])).double()
    ranking = torch.tensor([[2, 0, 1], [1, 0, -1], [0, 7, 7]])
    mask = torch.tensor([[True, True, True], [True, True, False], [True, False, False]])
    loss = plackett_luce(scores, ranking, mask)
    assert loss.exp().tolist() == pytest.approx([8 / 5 * 3, 4 / 3, 1.0], rel=1e-6)
    assert plackett_luce(scores, ranking, mask, top=1).exp().tolist() == pytest.approx([8 / 5, 4 / 3, 1.0], rel=1e-6)
    asked = scores.clone().requires_grad_()
    plackett_luce(asked, ranking, mask).sum().backward()
    assert asked.grad is not None and bool(asked.grad.isfinite().all())
    assert asked.grad[1, 2].item() == 0.0 and asked.grad[2].tolist() == [0.0] * 3


def test_rankings_sum_to_one_and_shift() -> None:
    scores = torch.randn(1, 4).double()
    orders = torch.tensor(list(itertools.permutations(range(4))))
    everything = torch.ones(24, 4, dtype=torch.bool)
    loss = plackett_luce(scores.expand(24, 4), orders, everything)
    assert (-loss).exp().sum().item() == pytest.approx(1.0, abs=1e-12)
    torch.testing.assert_close(plackett_luce(scores.expand(24, 4) + 1e3, orders, everything), loss, rtol=0, atol=1e-9)


def test_a_masked_place_in_the_middle_is_skipped() -> None:
    scores = torch.tensor([[0.3, -1.0, 2.0]])
    gap = plackett_luce(scores, torch.tensor([[0, 1, 2]]), torch.tensor([[True, False, True]]))
    assert gap.item() == pytest.approx(bradley_terry(torch.tensor([0.3]), torch.tensor([2.0])).item(), abs=1e-6)


def test_rankings_are_checked() -> None:
    scores, mask = torch.zeros(1, 2), torch.ones(1, 2, dtype=torch.bool)
    with pytest.raises(GuerdonError, match="more than once"):
        plackett_luce(scores, torch.tensor([[1, 1]]), mask)
    with pytest.raises(GuerdonError, match="items 0 to 1"):
        plackett_luce(scores, torch.tensor([[2, 1]]), mask)
    with pytest.raises(GuerdonError, match=r"\[L,K\]"):
        plackett_luce(scores, torch.tensor([[0, 1, 2]]), mask)


def test_regression_ignores_absent_ratings() -> None:
    score = torch.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    target = torch.tensor([[0.0, NAN], [5.0, -100.0]])
    valid = torch.tensor([[True, False], [True, False]])
    loss = regression(score, target, valid)
    loss.sum().backward()
    assert loss.tolist() == [[1.0, 0.0], [4.0, 0.0]]
    assert score.grad is not None and score.grad.tolist() == [[2.0, 0.0], [-4.0, 0.0]]
    assert regression(torch.tensor([1.0]), torch.tensor([3.0]), weight=0.5).tolist() == [2.0]


def test_margin_regression() -> None:
    value, gradients = with_gradient(margin_regression, 3.0, 1.0, margin=0.5)
    assert value == 2.25 and gradients == [3.0, -3.0]
