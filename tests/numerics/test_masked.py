"""Masked reductions, denominators and scans: hand values, and nothing under a mask may matter."""

import math

import pytest
import torch

from guerdon import reduce
from guerdon.errors import GuerdonError

X = [[1.0, 2.0, 4.0], [3.0, 5.0, 7.0], [1.0, 1.0, 1.0]]
MASK = [[True, True, False], [False, True, True], [False, False, False]]


def rows() -> tuple[torch.Tensor, torch.Tensor]:
    return torch.tensor(X), torch.tensor(MASK)


REDUCTIONS = {
    "masked": reduce.masked,
    "total": reduce.total,
    "average": reduce.average,
    "masked_max": reduce.masked_max,
    "masked_min": reduce.masked_min,
    "mean_all": reduce.mean_all,
    "var_all": reduce.var_all,
    "std_all": reduce.std_all,
    "reverse_cumsum": reduce.reverse_cumsum,
    "discounted_suffix_sum": lambda x, m: reduce.discounted_suffix_sum(x, 0.9, m),
    "discounted_suffix_sum_loop": lambda x, m: reduce.discounted_suffix_sum_loop(x, 0.9, m),
    "weighted_mean": lambda x, m: reduce.weighted_mean(x, m.float()),
}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("masked", [[1.0, 2.0, 0.0], [0.0, 5.0, 7.0], [0.0, 0.0, 0.0]]),
        ("total", [3.0, 12.0, 0.0]),
        ("average", [1.5, 6.0, 0.0]),
        ("masked_max", [2.0, 7.0, 0.0]),
        ("masked_min", [1.0, 5.0, 0.0]),
        ("mean_all", 3.75),
        ("var_all", (2.75**2 + 1.75**2 + 1.25**2 + 3.25**2) / 3),
        ("std_all", math.sqrt((2.75**2 + 1.75**2 + 1.25**2 + 3.25**2) / 3)),
        ("reverse_cumsum", [[3.0, 2.0, 0.0], [0.0, 12.0, 7.0], [0.0, 0.0, 0.0]]),
        ("discounted_suffix_sum", [[2.8, 2.0, 0.0], [0.0, 11.3, 7.0], [0.0, 0.0, 0.0]]),
        ("weighted_mean", 3.75),
    ],
)
def test_hand_values(name: str, expected: object) -> None:
    torch.testing.assert_close(REDUCTIONS[name](*rows()), torch.tensor(expected))


@pytest.mark.parametrize("junk", [math.nan, math.inf, 1e9])
@pytest.mark.parametrize("name", REDUCTIONS)
def test_nothing_under_the_mask_matters(name: str, junk: float) -> None:
    """TRL #6803, #6809: masked tokens entered statistics; NaN under a mask must change neither value nor gradient."""
    results = []
    for fill in (0.0, junk):
        x, mask = rows()
        x = torch.where(mask, x, fill).requires_grad_()
        out = REDUCTIONS[name](x, mask)
        out.sum().backward()
        results.append((out.detach(), x.grad))
    torch.testing.assert_close(results[0], results[1], rtol=0, atol=0)
    assert results[1][0].isfinite().all()
    assert (results[1][1][~rows()[1]] == 0).all()


@pytest.mark.parametrize("name", REDUCTIONS)
def test_gradcheck(name: str) -> None:
    x, mask = rows()
    assert torch.autograd.gradcheck(lambda v: REDUCTIONS[name](v, mask), x.double().requires_grad_())


@pytest.mark.parametrize("name", REDUCTIONS)
def test_half_precision_is_reduced_in_float32(name: str) -> None:
    x, mask = rows()
    out = REDUCTIONS[name](x.bfloat16(), mask)
    assert out.dtype == torch.float32
    torch.testing.assert_close(out, REDUCTIONS[name](x, mask))


@pytest.mark.parametrize("name", REDUCTIONS)
def test_padding_steps_changes_nothing(name: str) -> None:
    x, mask = rows()
    wide = torch.nn.functional.pad(x, (0, 5), value=math.nan)
    out = REDUCTIONS[name](wide, torch.nn.functional.pad(mask, (0, 5)))
    expected = REDUCTIONS[name](x, mask)
    torch.testing.assert_close(out[:, :3] if expected.dim() == 2 else out, expected)


def test_no_steps_at_all() -> None:
    x, mask = torch.zeros(2, 0), torch.zeros(2, 0, dtype=torch.bool)
    for name in ("total", "average", "masked_max", "masked_min"):
        assert REDUCTIONS[name](x, mask).tolist() == [0.0, 0.0]
    assert reduce.mean_all(x, mask) == 0
    assert reduce.std_all(x, mask) == 0
    assert reduce.discounted_suffix_sum(x, 0.9).shape == (2, 0)
    assert reduce.discounted_suffix_sum_loop(x, 0.9).shape == (2, 0)


def test_lengths_counts_steps() -> None:
    assert reduce.lengths(torch.tensor(MASK)).tolist() == [2, 2, 0]
    assert reduce.lengths(torch.tensor(MASK)).dtype == torch.int64


def test_empty_fill_of_extremes() -> None:
    x, mask = rows()
    assert reduce.masked_min(x, mask, empty=-7.0)[2] == -7.0
    assert reduce.masked_max(x, mask, empty=math.inf)[2] == math.inf


def test_variance_survives_a_large_mean() -> None:
    x = torch.tensor([10000.0, 10001.0, 10002.0])
    mask = torch.ones(3, dtype=torch.bool)
    assert reduce.var_all(x, mask).item() == 1.0
    assert reduce.var_all(x, mask, correction=0).item() == pytest.approx(2 / 3, rel=1e-6)


def test_identical_values_have_exactly_zero_deviation_and_gradient() -> None:
    x = torch.full((7,), 0.1, requires_grad=True)
    std = reduce.std_all(x, torch.ones(7, dtype=torch.bool))
    std.backward()
    assert std.item() == 0.0
    assert x.grad is not None and x.grad.tolist() == [0.0] * 7


def test_one_value_has_no_deviation() -> None:
    assert reduce.std_all(torch.tensor([5.0]), torch.tensor([True])) == 0
    assert reduce.std_all(torch.tensor([5.0, math.nan]), torch.tensor([True, False])) == 0


def test_weighted_mean_adds_up_over_any_split() -> None:
    """TRL d14f7f3eb, verl 3671d37fe, prime-rl 1d9ca9255: per-micro-batch denominators change loss and gradient."""
    loss = torch.tensor([1.0, 2.0, 3.0, 10.0, 5.0], requires_grad=True)
    weight = torch.tensor([1.0, 1.0, 0.5, 3.0, 0.0])
    whole = reduce.weighted_mean(loss, weight)
    assert whole.item() == pytest.approx(34.5 / 5.5)
    (grad,) = torch.autograd.grad(whole, loss)
    for cut in range(6):
        parts = [reduce.weighted_mean(loss[s], weight[s], weight.sum()) for s in (slice(0, cut), slice(cut, 5))]
        torch.testing.assert_close(parts[0] + parts[1], whole)
        torch.testing.assert_close(torch.autograd.grad(parts[0] + parts[1], loss)[0], grad)


def test_weighted_mean_ignores_nan_of_weight_zero_and_survives_no_weight() -> None:
    loss = torch.tensor([math.nan, 4.0], requires_grad=True)
    assert reduce.weighted_mean(loss, torch.tensor([0.0, 2.0])).item() == 4.0
    nothing = reduce.weighted_mean(loss, torch.zeros(2))
    nothing.backward()
    assert nothing.item() == 0.0
    assert loss.grad is not None and loss.grad.tolist() == [0.0, 0.0]
    assert reduce.weighted_mean(loss.detach(), torch.tensor([0.0, 2.0]), denominator=0).item() == 0.0


def test_scan_matches_the_loop_with_resets_and_gaps() -> None:
    generator = torch.Generator().manual_seed(0)
    for steps in (1, 2, 3, 7, 8, 33):
        x = torch.randn(4, steps, generator=generator, dtype=torch.float64, requires_grad=True)
        decay = torch.rand(4, steps, generator=generator, dtype=torch.float64)
        decay = torch.where(torch.rand(4, steps, generator=generator) < 0.2, 0.0, decay).requires_grad_()
        mask = torch.rand(4, steps, generator=generator) < 0.7
        for chosen in (None, mask):
            fast = reduce.discounted_suffix_sum(x, decay, chosen)
            slow = reduce.discounted_suffix_sum_loop(x, decay, chosen)
            torch.testing.assert_close(fast, slow, rtol=1e-12, atol=1e-12)
            upstream = torch.randn(4, steps, generator=generator, dtype=torch.float64)
            torch.testing.assert_close(
                torch.autograd.grad(fast, (x, decay), upstream, allow_unused=True, materialize_grads=True),
                torch.autograd.grad(slow, (x, decay), upstream, allow_unused=True, materialize_grads=True),
                rtol=1e-12,
                atol=1e-12,
            )


def test_scan_hand_values() -> None:
    x = torch.tensor([[1.0, 2.0, 3.0, 4.0]])
    assert reduce.discounted_suffix_sum(x, 0.5).tolist() == [[3.25, 4.5, 5.0, 4.0]]
    reset = torch.tensor([[0.5, 0.0, 0.5, 0.5]])
    assert reduce.discounted_suffix_sum(x, reset).tolist() == [[2.0, 2.0, 5.0, 4.0]]
    gap = torch.tensor([[True, False, True, True]])
    assert reduce.discounted_suffix_sum(x, 0.5, gap).tolist() == [[3.5, 0.0, 5.0, 4.0]]


def test_long_scan_stays_finite() -> None:
    y = reduce.discounted_suffix_sum(torch.full((1, 5000), 1e4), 1.0)
    torch.testing.assert_close(y[0, 0], torch.tensor(5e7))


def test_errors_say_what_to_do() -> None:
    with pytest.raises(GuerdonError, match="bool"):
        reduce.total(torch.zeros(2, 3), torch.ones(2, 3))
    with pytest.raises(GuerdonError, match="same shape"):
        reduce.total(torch.zeros(2, 3), torch.ones(2, dtype=torch.bool))
