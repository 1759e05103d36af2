"""Intervals and verdicts against numbers worked out by hand with tables of Student's t."""

import math

import pytest

from guerdon.errors import GuerdonError
from guerdon.lab.stats import (
    check_verdict,
    effect_verdict,
    expected_by_chance,
    paired_interval,
    parity_verdict,
    seeds_needed,
    t_quantile,
)


def test_quantiles_are_those_of_the_tables() -> None:
    assert t_quantile(0.975, 7) == pytest.approx(2.3646, abs=5e-5)
    assert t_quantile(0.95, 7) == pytest.approx(1.8946, abs=5e-5)


def test_interval_by_hand() -> None:
    # Differences 1, 3: mean 2, sd √2, standard error 1, t_{0.975,1} = 12.706.
    i = paired_interval([1.0, 3.0])
    assert (i.estimate, i.sd, i.n) == (2.0, pytest.approx(math.sqrt(2)), 2)
    assert i.low == pytest.approx(2 - 12.7062, abs=1e-3)
    assert i.high == pytest.approx(2 + 12.7062, abs=1e-3)


@pytest.mark.parametrize(
    ("differences", "smallest", "status"),
    [
        ([1.0, 1.1, 0.9, 1.0, 1.1, 0.9, 1.0, 1.0], 0.5, "reproduced"),
        ([0.2, 0.21, 0.19, 0.2, 0.2, 0.21, 0.19, 0.2], 0.5, "not reproduced"),  # real, but below δ
        ([-1.0, -1.1, -0.9, -1.0, -1.1, -0.9, -1.0, -1.0], 0.5, "not reproduced"),
        ([3.0, -2.0, 4.0, -1.0, 2.0, -3.0, 3.0, 1.0], 0.5, "inconclusive"),
        ([0.4, 0.6, 0.45, 0.55, 0.4, 0.6, 0.45, 0.5], 0.5, "inconclusive"),  # above 0, estimate just below δ
    ],
)
def test_verdict_rules(differences: list[float], smallest: float, status: str) -> None:
    assert effect_verdict(differences, smallest).status == status


def test_the_estimate_must_reach_delta_even_where_the_interval_is_above_zero() -> None:
    v = effect_verdict([0.4, 0.6, 0.45, 0.55, 0.4, 0.6, 0.45, 0.5], 0.5)
    assert v.interval is not None and v.interval.low > 0 and v.interval.estimate < 0.5
    assert v.needed is not None and v.needed > 8


def test_seeds_needed_is_the_smallest_that_suffices() -> None:
    n = seeds_needed(1.0, 0.5)
    assert n is not None
    assert t_quantile(0.975, n - 1) / math.sqrt(n) <= 0.5 < t_quantile(0.975, n - 2) / math.sqrt(n - 1)
    assert seeds_needed(1.0, 0.0) is None
    assert seeds_needed(1.0, 1e-6) is None


def test_parity_is_not_the_absence_of_a_difference() -> None:
    tight = [0.01, -0.01, 0.02, -0.02, 0.0, 0.01, -0.01, 0.0]
    noisy = [1.0, -1.0, 2.0, -2.0, 0.0, 1.0, -1.0, 0.0]
    assert parity_verdict(tight, 0.1).status == "reproduced"
    assert parity_verdict(noisy, 0.1).status == "inconclusive"
    assert parity_verdict([x + 1 for x in tight], 0.1).status == "not reproduced"
    assert parity_verdict([x - 1 for x in tight], 0.1).status == "not reproduced"


def test_parity_uses_two_one_sided_tests_at_five_percent() -> None:
    # Mean 0, sd 1, n 8: the 90 % half-width is 1.8946/√8 = 0.66984, the 95 % one 0.836.
    z = [1.0, -1.0, 1.0, -1.0, 1.0, -1.0, 1.0, -1.0]
    scaled = [x * math.sqrt(7 / 8) for x in z]
    assert parity_verdict(scaled, 0.671).status == "reproduced"
    assert parity_verdict(scaled, 0.669).status == "inconclusive"


def test_a_failed_run_is_no_evidence() -> None:
    with pytest.raises(GuerdonError, match="not finite"):
        effect_verdict([1.0, float("nan")], 0.5)
    with pytest.raises(GuerdonError, match="at least 2"):
        effect_verdict([1.0], 0.5)


def test_checks_pass_in_every_seed_or_not_at_all() -> None:
    assert check_verdict([1, 1, 1], "the identity").status == "reproduced"
    assert "1 of 3" in check_verdict([1, 0, 1], "the identity").sentence


def test_chance() -> None:
    assert expected_by_chance(193) == pytest.approx(4.825)
