"""Gold at matched KL by hand."""

import pytest

from guerdon.errors import GuerdonError
from guerdon.lab.frontier import area_under, frontier_metrics, gold_at

POINTS = [(4.0, 1.0), (2.0, 3.0), (6.0, -1.0)]


def test_interpolation_from_the_start_and_flat_beyond() -> None:
    assert gold_at(POINTS, 1.0, 0.0) == 1.0
    assert gold_at(POINTS, 1.0, 1.0) == 2.0
    assert gold_at(POINTS, 1.0, 3.0) == 2.0
    assert gold_at(POINTS, 1.0, 9.0) == -1.0


def test_area_by_hand() -> None:
    # Trapezes: [0,2]: 2·(1+3)/2 = 4; [2,4]: 2·(3+1)/2 = 4; mean over 4 is 2.
    assert area_under(POINTS, 1.0, 4.0) == pytest.approx(2.0)
    # [0,2]: 4; [2,3]: (3+2)/2 = 2.5; mean over 3.
    assert area_under(POINTS, 1.0, 3.0) == pytest.approx(6.5 / 3)


def test_a_method_that_only_shrinks_the_reward_gains_nothing_at_matched_kl() -> None:
    # The same frontier reached at other coefficients: an equal-coefficient comparison would call one better.
    line = [(k, 1.0 + k) for k in (0.5, 1.0, 1.5, 2.0, 2.5, 3.0)]
    a, b = frontier_metrics(line[:3], 1.0, 1.5), frontier_metrics([line[2], line[4], line[5]], 1.0, 1.5)
    assert a["area"] == pytest.approx(b["area"])
    assert a["gold_at_limit"] == pytest.approx(b["gold_at_limit"])


def test_fewer_than_three_coefficients_are_refused() -> None:
    with pytest.raises(GuerdonError, match="at least 3"):
        frontier_metrics(POINTS[:2], 0.0, 1.0)
    with pytest.raises(GuerdonError, match="KL of at least 0"):
        gold_at([(-1.0, 0.0)], 0.0, 1.0)
    with pytest.raises(GuerdonError, match="above 0"):
        area_under(POINTS, 0.0, 0.0)
