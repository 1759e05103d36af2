"""Agreement of rankings: hand values, ties by place, masks, and scipy's numbers where nothing ties."""

import pytest
import torch

from guerdon.reduce import kendall_tau, ordinal_rank, same_ends, spearman

ALL = torch.ones(1, 4, dtype=torch.bool)


def row(*x: float) -> torch.Tensor:
    return torch.tensor([x])


def test_ties_are_ranked_by_place():
    assert ordinal_rank(row(3, 1, 3, 1), ALL).tolist() == [[3, 1, 4, 2]]
    mask = torch.tensor([[True, False, True, True]])
    assert ordinal_rank(row(float("inf"), float("nan"), float("inf"), -1), mask).tolist() == [[2, 0, 3, 1]]


def test_alike_reversed_and_in_between():
    up, down = row(1, 2, 3, 4), row(4, 3, 2, 1)
    for measure in (kendall_tau, spearman):
        assert measure(up, 10 * up, ALL).item() == 1.0
        assert measure(up, down, ALL).item() == -1.0
    swapped = row(2, 1, 3, 4)  # one of six pairs in the wrong order: τ = 4/6; d² = 2: 1 − 12/60
    assert kendall_tau(up, swapped, ALL).item() == pytest.approx(4 / 6)
    assert spearman(up, swapped, ALL).item() == pytest.approx(0.8)


def test_best_and_worst_must_both_agree():
    up = row(1, 2, 3, 4)
    assert same_ends(up, row(1, 3, 2, 4), ALL).item() == 1.0
    assert same_ends(up, row(1, 2, 4, 3), ALL).item() == -1.0
    assert same_ends(up, row(2, 1, 3, 4), ALL).item() == -1.0


def test_constant_scores_and_short_lists_are_numbers():
    short = torch.tensor([[True, False, False, False]])
    for measure in (kendall_tau, spearman, same_ends):
        assert measure(row(1, 1, 1, 1), row(5, 5, 5, 5), ALL).item() == 1.0
        assert measure(row(1, 2, 3, 4), row(4, 3, 2, 1), short).item() == 1.0
        assert measure(row(1, 2, 3, 4), row(4, 3, 2, 1), ~ALL).item() == 1.0


def test_scipy_says_the_same():
    stats = pytest.importorskip("scipy.stats")
    g = torch.Generator().manual_seed(0)
    a, b = torch.randn(20, 7, generator=g), torch.randn(20, 7, generator=g)
    mask = torch.ones(20, 7, dtype=torch.bool)
    tau, rho = kendall_tau(a, b, mask), spearman(a, b, mask)
    for i in range(20):
        assert tau[i].item() == pytest.approx(stats.kendalltau(a[i], b[i]).statistic, abs=1e-6)
        assert rho[i].item() == pytest.approx(stats.spearmanr(a[i], b[i]).statistic, abs=1e-6)
