"""Ragged group statistics, peers and spans: hand values, isolation, equivariance, and the known group bugs."""

import math

import numpy as np
import pytest
import torch

from guerdon import reduce
from guerdon.errors import GuerdonError

# Groups of four, three and one (ids are arbitrary), one entry outside, one left out.
X = [1.0, 0.0, 5.0, 0.0, 5.0, 0.0, 2.0, 5.0, 8.0, 9.0]
IDS = [7, 7, 90, 7, 90, 7, 3, 90, -1, 7]
OK = [True] * 9 + [False]

STATISTICS = {
    "sum": reduce.group_sum,
    "mean": reduce.group_mean,
    "std": reduce.group_std,
    "std0": lambda x, i, ok=None: reduce.group_std(x, i, ok, correction=0),
    "min": reduce.group_min,
    "max": reduce.group_max,
    "median": lambda x, i, ok=None: reduce.group_quantile(x, i, 0.5, ok),
    "q90": lambda x, i, ok=None: reduce.group_quantile(x, i, 0.9, ok),
    "rank": reduce.group_rank,
    "leave_one_out_mean": reduce.leave_one_out_mean,
    "leave_one_out_std": reduce.leave_one_out_std,
}
SMOOTH = sorted(set(STATISTICS) - {"rank"})


def data() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    return torch.tensor(X), torch.tensor(IDS), torch.tensor(OK)


@pytest.mark.parametrize(
    ("name", "sevens", "nineties", "alone"),
    [
        ("sum", 1.0, 15.0, 2.0),
        ("mean", 0.25, 5.0, 2.0),
        ("std", 0.5, 0.0, 0.0),
        ("std0", math.sqrt(3) / 4, 0.0, 0.0),
        ("min", 0.0, 5.0, 2.0),
        ("max", 1.0, 5.0, 2.0),
        ("median", 0.0, 5.0, 2.0),
        ("q90", 0.7, 5.0, 2.0),
    ],
)
def test_hand_values(name: str, sevens: float, nineties: float, alone: float) -> None:
    by_id = {7: sevens, 90: nineties, 3: alone, -1: 0.0}
    expected = [by_id[i] if ok else 0.0 for i, ok in zip(IDS, OK, strict=True)]
    torch.testing.assert_close(STATISTICS[name](*data()), torch.tensor(expected))


def test_count() -> None:
    _, ids, ok = data()
    assert reduce.group_count(ids, ok).tolist() == [4, 4, 3, 4, 3, 4, 1, 3, 0, 0]
    assert reduce.group_count(ids).tolist() == [5, 5, 3, 5, 3, 5, 1, 3, 0, 5]


def test_rank_averages_ties() -> None:
    assert reduce.group_rank(*data()).tolist() == [4.0, 2.0, 2.0, 2.0, 2.0, 2.0, 1.0, 2.0, 0.0, 0.0]


def test_peers() -> None:
    """The winner of [1,0,0,0] has identical peers; each loser's peers are [1,0,0] (table in NeMo-RL's convention)."""
    x, ids, ok = data()
    third = 1 / 3
    expected = [0.0, third, 5.0, third, 5.0, third, 0.0, 5.0, 0.0, 0.0]
    torch.testing.assert_close(reduce.leave_one_out_mean(x, ids, ok), torch.tensor(expected))
    root = math.sqrt(third)
    expected = [0.0, root, 0.0, root, 0.0, root, 0.0, 0.0, 0.0, 0.0]
    torch.testing.assert_close(reduce.leave_one_out_std(x, ids, ok), torch.tensor(expected))
    expected = [0.0, math.sqrt(2) / 3, 0.0, math.sqrt(2) / 3, 0.0, math.sqrt(2) / 3, 0.0, 0.0, 0.0, 0.0]
    torch.testing.assert_close(reduce.leave_one_out_std(x, ids, ok, correction=0), torch.tensor(expected))


@pytest.mark.parametrize("value", [0.1, 0.3, 1 / 3, 1e4 + 0.1, -7.77])
def test_identical_peers_deviate_by_exactly_nothing(value: float) -> None:
    """NeMo-RL #4158: rounding noise in E[x^2] - mean^2 of identical peers gave an advantage of -2075."""
    for size in (2, 3, 5, 8, 17):
        x = torch.full((size,), value)
        ids = torch.zeros(size, dtype=torch.int64)
        assert reduce.group_std(x, ids).tolist() == [0.0] * size
        odd = torch.cat([x, torch.tensor([2.0 * value + 1.0])])
        ids = torch.zeros(size + 1, dtype=torch.int64)
        assert reduce.leave_one_out_std(odd, ids)[-1].item() == 0.0
        assert reduce.leave_one_out_mean(odd, ids)[-1].item() == x[0].item()


def test_an_outlier_never_touches_its_own_baseline() -> None:
    x = torch.tensor([0.1, 1e9, 0.2, 0.3])
    ids = torch.zeros(4, dtype=torch.int64)
    assert reduce.leave_one_out_mean(x, ids)[1].item() == pytest.approx(0.2, rel=1e-6)
    assert reduce.leave_one_out_std(x, ids)[1].item() == pytest.approx(0.1, rel=1e-5)


def test_uneven_groups_are_not_normalised_together() -> None:
    """slime #1414: a group of three 5.0s received an advantage of -1.09 from the other groups of the batch."""
    x, ids, ok = data()
    centred = x - reduce.group_mean(x, ids, ok)
    assert centred[torch.tensor(IDS) == 90].tolist() == [0.0, 0.0, 0.0]


def test_against_numpy_on_random_groups() -> None:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(40, generator=generator, dtype=torch.float64)
    x[::7] = 0.5
    ids = torch.randint(-1, 6, (40,), generator=generator)
    ok = torch.rand(40, generator=generator) < 0.8
    got = {name: statistic(x, ids, ok) for name, statistic in STATISTICS.items()}
    for i in range(40):
        if ids[i] < 0 or not ok[i]:
            assert all(value[i] == 0 for value in got.values())
            continue
        inside = (ids == ids[i]) & ok
        group = x[inside].numpy()
        inside[i] = False
        peers = x[inside].numpy()
        expected = {
            "sum": group.sum(),
            "mean": group.mean(),
            "std": group.std(ddof=1) if len(group) > 1 else 0.0,
            "std0": group.std(),
            "min": group.min(),
            "max": group.max(),
            "median": np.median(group),
            "q90": np.quantile(group, 0.9),
            "rank": (group < x[i].item()).sum() + ((group == x[i].item()).sum() + 1) / 2,
            "leave_one_out_mean": peers.mean() if len(peers) else 0.0,
            "leave_one_out_std": peers.std(ddof=1) if len(peers) > 1 else 0.0,
        }
        for name, value in expected.items():
            assert got[name][i].item() == pytest.approx(value, abs=1e-12), name


@pytest.mark.parametrize("junk", [math.nan, math.inf, 1e9])
@pytest.mark.parametrize("name", STATISTICS)
def test_whoever_is_left_out_never_enters(name: str, junk: float) -> None:
    """verl #6452: rejected rows stayed inside the baseline."""
    results = []
    for fill in (0.0, junk):
        x, ids, ok = data()
        x = torch.where((ids >= 0) & ok, x, fill).requires_grad_()
        out = STATISTICS[name](x, ids, ok)
        if name in SMOOTH:
            (out * torch.arange(1.0, 11.0)).sum().backward()
        results.append((out.detach(), x.grad if name in SMOOTH else torch.zeros(10)))
    torch.testing.assert_close(results[0], results[1], rtol=0, atol=0)
    assert all(part.isfinite().all() for part in results[1])
    assert (results[1][1][-2:] == 0).all()


@pytest.mark.parametrize("name", STATISTICS)
def test_permutation_and_relabelling(name: str) -> None:
    x, ids, ok = data()
    out = STATISTICS[name](x, ids, ok)
    order = torch.randperm(10, generator=torch.Generator().manual_seed(3))
    torch.testing.assert_close(STATISTICS[name](x[order], ids[order], ok[order]), out[order])
    torch.testing.assert_close(STATISTICS[name](x, torch.where(ids >= 0, 10**15 - ids, -1), ok), out)


@pytest.mark.parametrize("name", STATISTICS)
def test_groups_are_isolated(name: str) -> None:
    x, ids, ok = data()
    out = STATISTICS[name](x, ids, ok)
    other = torch.where(ids == 90, x * 100 - 3, x)
    keep = ids != 90
    torch.testing.assert_close(STATISTICS[name](other, ids, ok)[keep], out[keep], rtol=0, atol=0)


@pytest.mark.parametrize("name", STATISTICS)
def test_any_shape(name: str) -> None:
    x, ids, ok = data()
    out = STATISTICS[name](x.reshape(2, 5), ids.reshape(2, 5), ok.reshape(2, 5))
    torch.testing.assert_close(out, STATISTICS[name](x, ids, ok).reshape(2, 5))
    none = torch.full((2, 3), -1)
    assert (STATISTICS[name](torch.full((2, 3), math.nan), none) == 0).all()
    empty = torch.zeros(0, dtype=torch.int64)
    assert STATISTICS[name](torch.zeros(0), empty).shape == (0,)


@pytest.mark.parametrize("name", SMOOTH)
def test_gradcheck(name: str) -> None:
    x = torch.tensor([0.3, -1.0, 2.0, 0.7, 5.0, 1.1, 4.0], dtype=torch.float64, requires_grad=True)
    ids = torch.tensor([0, 0, 0, 1, 1, 1, -1])
    assert torch.autograd.gradcheck(lambda v: STATISTICS[name](v, ids), x)


@pytest.mark.parametrize("name", ["std", "std0", "leave_one_out_std"])
def test_zero_deviation_has_zero_gradient(name: str) -> None:
    x = torch.full((4,), 0.1, requires_grad=True)
    STATISTICS[name](x, torch.zeros(4, dtype=torch.int64)).sum().backward()
    assert x.grad is not None and x.grad.tolist() == [0.0] * 4


@pytest.mark.parametrize("name", STATISTICS)
def test_extreme_inputs_stay_finite(name: str) -> None:
    x = torch.tensor([1e4, -1e4, 1e15, 1e-30, 0.0, -1e15])
    assert STATISTICS[name](x, torch.tensor([0, 0, 0, 0, 1, 1])).isfinite().all()


def test_long_groups_keep_their_digits() -> None:
    x = torch.full((1_000_000,), 0.1)
    assert reduce.group_sum(x, torch.zeros(1_000_000, dtype=torch.int64))[0].item() == pytest.approx(1e5, rel=1e-6)


def test_per_group() -> None:
    x, ids, ok = data()
    dense, groups = reduce.dense_ids(ids, ok)
    assert groups == 3
    assert dense.tolist() == [1, 1, 2, 1, 2, 1, 0, 2, -1, -1]
    assert reduce.per_group_count(dense, 3).tolist() == [1, 4, 3]
    assert reduce.per_group_sum(x, dense, 3).tolist() == [2.0, 1.0, 15.0]
    assert reduce.per_group_mean(x, dense, 4).tolist() == [2.0, 0.25, 5.0, 0.0]
    assert reduce.per_group_std(x, dense, 4).tolist() == [0.0, 0.5, 0.0, 0.0]
    assert reduce.per_group_min(x, dense, 4).tolist() == [2.0, 0.0, 5.0, 0.0]
    assert reduce.per_group_max(x, dense, 4).tolist() == [2.0, 1.0, 5.0, 0.0]
    assert reduce.per_group_quantile(x, dense, 4, 0.5).tolist() == [2.0, 0.0, 5.0, 0.0]
    assert reduce.spread(torch.tensor([10.0, 20.0, 30.0]), dense).tolist() == [20, 20, 30, 20, 30, 20, 10, 30, 0, 0]


def test_errors_say_what_to_do() -> None:
    x, ids, _ = data()
    with pytest.raises(GuerdonError, match="int64"):
        reduce.group_mean(x, ids.int())
    with pytest.raises(GuerdonError, match="same shape"):
        reduce.group_mean(x[:3], ids)
    with pytest.raises(GuerdonError, match="dense_ids"):
        reduce.per_group_mean(x, ids, 3)
    with pytest.raises(GuerdonError, match="between 0 and 1"):
        reduce.group_quantile(x, ids, 90.0)
    with pytest.raises(GuerdonError, match="must be bool"):
        reduce.group_mean(x, ids, torch.ones(10))


SPANS = torch.tensor([[0, 0, -1, 0, 1, 1], [0, 5, 5, -1, -1, -1]])
VALUES = torch.tensor([[1.0, 2.0, math.nan, 4.0, 5.0, 6.0], [7.0, 8.0, 9.0, math.nan, math.nan, math.nan]])


def test_spans() -> None:
    """A span interrupted by a tool's output stays one span; the same id in another row is another span."""
    assert reduce.last_in_span(SPANS).int().tolist() == [[0, 0, 0, 1, 0, 1], [1, 0, 1, 0, 0, 0]]
    assert reduce.first_in_span(SPANS).int().tolist() == [[1, 0, 0, 0, 1, 0], [1, 1, 0, 0, 0, 0]]
    assert reduce.span_count(SPANS).tolist() == [[3, 3, 0, 3, 2, 2], [1, 2, 2, 0, 0, 0]]
    assert reduce.span_sum(VALUES, SPANS).tolist() == [[7, 7, 0, 7, 11, 11], [7, 17, 17, 0, 0, 0]]
    assert reduce.spread_from_last(VALUES, SPANS).tolist() == [[4, 4, 0, 4, 6, 6], [7, 9, 9, 0, 0, 0]]
    ids, spans = reduce.span_ids(SPANS)
    assert spans == 4
    assert reduce.per_group_sum(VALUES, ids, spans).tolist() == [7.0, 11.0, 7.0, 17.0]


def test_spans_gradient_and_empty() -> None:
    x = VALUES.clone().requires_grad_()
    reduce.spread_from_last(x, SPANS).sum().backward()
    assert x.grad is not None and x.grad.tolist() == [[0, 0, 0, 3, 0, 2], [1, 0, 2, 0, 0, 0]]
    nowhere = torch.full((2, 3), -1)
    assert not reduce.last_in_span(nowhere).any()
    assert (reduce.span_sum(torch.full((2, 3), math.nan), nowhere) == 0).all()
    assert reduce.last_in_span(torch.zeros(2, 0, dtype=torch.int64)).shape == (2, 0)
    with pytest.raises(GuerdonError, match=r"\[rows, steps\]"):
        reduce.last_in_span(torch.zeros(3, dtype=torch.int64))


def test_spans_are_isolated_between_rows_and_long_rows_keep_positions() -> None:
    spans = torch.zeros(3, 4, dtype=torch.int64)
    x = torch.arange(12.0).reshape(3, 4)
    assert reduce.span_sum(x, spans)[:, 0].tolist() == [6.0, 22.0, 38.0]
