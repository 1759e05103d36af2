"""The exact best-of-n estimator (card 14)."""

import itertools
import math

import pytest
import torch

from guerdon.audit.best_of_n import best_of_n, best_of_n_kl, best_of_n_weights
from guerdon.errors import GuerdonError


@pytest.mark.parametrize("n", [1, 2, 3, 6])
def test_against_every_subset(n):
    score = torch.tensor([0.3, -1.0, 2.0, 0.7, 5.0, -2.0])
    value = torch.tensor([1.0, 2.0, -3.0, 4.0, 0.5, 9.0])
    subsets = list(itertools.combinations(range(6), n))
    expected = sum(value[max(s, key=lambda i: score[i].item())].item() for s in subsets) / len(subsets)
    assert best_of_n(score, value, [n])[n].item() == pytest.approx(expected, abs=1e-12)


def test_limits_and_sum():
    assert best_of_n_weights(5, 1).tolist() == pytest.approx([0.2] * 5, abs=1e-12)
    assert best_of_n_weights(5, 5).tolist() == pytest.approx([0, 0, 0, 0, 1], abs=1e-12)
    for n in (1, 17, 4096):  # binomials of 12,000 overflow anything but logarithms
        assert best_of_n_weights(12_000, n).sum().item() == pytest.approx(1.0, abs=1e-9)


def test_ties_share():
    score, value = torch.tensor([[1.0, 1.0, 0.0]]), torch.tensor([[4.0, 2.0, 100.0]])
    # of the 3 pairs two hold one tied sample and the third both: always 3 on average
    assert best_of_n(score, value, [2])[2].item() == pytest.approx(3.0, abs=1e-12)


def test_kl_bound():
    assert best_of_n_kl(1) == 0.0
    assert best_of_n_kl(4) == pytest.approx(math.log(4) - 0.75)


def test_refusals():
    with pytest.raises(GuerdonError, match="n = 7"):
        best_of_n_weights(6, 7)
    with pytest.raises(GuerdonError, match="every score"):
        best_of_n(torch.zeros(2), torch.zeros(3), [1])
