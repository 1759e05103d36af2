"""Intervals and agreement against published and hand-computed values."""

from math import comb

import pytest
import torch

from guerdon.audit import bootstrap, krippendorff_alpha, wilson
from guerdon.errors import GuerdonError


def test_wilson_of_eight_in_ten() -> None:
    """(0.8 + 3.8415/20)/(1 + 3.8415/10) ± …: 0.4902 to 0.9433."""
    interval = wilson(8, 10)
    assert (interval.estimate, interval.n, interval.level) == (0.8, 10, 0.95)
    assert interval.low == pytest.approx(0.490162, abs=1e-6)
    assert interval.high == pytest.approx(0.943318, abs=1e-6)


def test_wilson_meets_the_ends_and_keeps_a_width_there() -> None:
    assert (wilson(0, 5).low, wilson(5, 5).high) == (0.0, 1.0)
    assert wilson(0, 5).high == pytest.approx(3.841459 / 8.841459, abs=1e-6)
    assert wilson(4.5, 10).estimate == 0.45


@pytest.mark.parametrize("p", [0.1, 0.37, 0.5, 0.9])
def test_wilson_covers_about_what_it_says(p: float) -> None:
    n = 60
    covered = sum(
        comb(n, k) * p**k * (1 - p) ** (n - k) for k in range(n + 1) if wilson(k, n).low <= p <= wilson(k, n).high
    )
    assert 0.93 <= covered <= 0.98


@pytest.mark.parametrize(("successes", "n", "level"), [(0, 0, 0.95), (3, 2, 0.95), (-1, 2, 0.95), (1, 2, 1.0)])
def test_wilson_refuses_what_is_no_share(successes: int, n: int, level: float) -> None:
    with pytest.raises(GuerdonError):
        wilson(successes, n, level)


def test_bootstrap_of_a_mean_is_near_its_normal_interval_and_repeats() -> None:
    values = torch.linspace(-1, 1, 400)
    interval = bootstrap(values)
    half = 1.96 * float(values.double().std()) / 20
    assert interval.estimate == pytest.approx(0.0, abs=1e-6)
    assert interval.low == pytest.approx(-half, rel=0.1)
    assert interval.high == pytest.approx(half, rel=0.1)
    assert interval == bootstrap(values)
    assert interval != bootstrap(values, seed=1)


def test_bootstrap_takes_any_statistic_of_rows() -> None:
    pairs = torch.stack([torch.arange(1.0, 31), 2 * torch.arange(1.0, 31)], 1)
    ratio = bootstrap(pairs, lambda rows: rows[..., 1].sum(1) / rows[..., 0].sum(1))
    assert (ratio.estimate, ratio.low, ratio.high) == pytest.approx((2.0, 2.0, 2.0))


@pytest.mark.parametrize("values", [[], [1.0, float("nan")]])
def test_bootstrap_refuses_nothing_and_nan(values: list[float]) -> None:
    with pytest.raises(GuerdonError, match="bootstrap"):
        bootstrap(torch.tensor(values))


def test_krippendorffs_own_examples() -> None:
    """Krippendorff 2011: two observers, binary, α = 0.095; four observers, five values, missing data, α = 0.743."""
    assert krippendorff_alpha(list(zip("0100000010", "1110010000", strict=True))) == pytest.approx(0.095, abs=5e-4)
    rows = ["123321412   ", "1233224125 3", " 3332342251 ", "12332441251 "]
    units = [[value for value in column if value != " "] for column in zip(*rows, strict=True)]
    assert krippendorff_alpha(units) == pytest.approx(0.743, abs=5e-4)


def test_alpha_at_its_limits() -> None:
    assert krippendorff_alpha([["a", "a"], ["b", "b"]]) == 1.0
    assert krippendorff_alpha([["a", "b"], ["a", "b"]]) == pytest.approx(-0.5)
    assert krippendorff_alpha([["a", "a"], ["a", "a"]]) is None
    assert krippendorff_alpha([["a"], []]) is None
