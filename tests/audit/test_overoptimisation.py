"""Onset, equal-KL readings and areas by hand."""

import numpy as np
import pytest

from guerdon.audit import overoptimisation as over
from guerdon.errors import GuerdonError


def test_smoothing_keeps_ends_and_shifts_nothing() -> None:
    # Windows of 3: the ends stand alone, the middle is averaged with its neighbours.
    assert over.smooth([0.0, 3.0, 6.0, 0.0], 3).tolist() == [0.0, 3.0, 3.0, 0.0]
    line = np.arange(9.0)
    assert np.allclose(over.smooth(line, 7), line, rtol=0, atol=1e-12)
    assert over.smooth(line, 1).tolist() == line.tolist()


def test_noise_ignores_a_trend_and_finds_the_standard_deviation() -> None:
    assert over.noise(5.0 * np.arange(50.0), 1) == pytest.approx(0.0, abs=1e-12)
    x = np.random.default_rng(0).normal(0.0, 2.0, 20000) + 0.01 * np.arange(20000)
    assert over.noise(x, 1) == pytest.approx(2.0, rel=0.05)
    assert over.noise(x, 4) == pytest.approx(1.0, rel=0.05)


def test_onset_where_gold_peaks_and_proxy_goes_on() -> None:
    kl, proxy = np.arange(6.0), np.arange(6.0)
    found = over.onset(kl, proxy, [0.0, 1.0, 2.0, 1.0, 0.0, -1.0], window=1, threshold=0.5)
    assert found.found and found.index == 2 and found.kl == 2.0
    assert (found.gold_start, found.gold_peak, found.gold_end) == (0.0, 2.0, -1.0)
    assert found.drop == 3.0 and found.proxy_rise == 3.0


def test_no_onset_where_gold_falls_with_the_proxy_or_too_little() -> None:
    kl, gold = np.arange(6.0), [0.0, 1.0, 2.0, 1.0, 0.0, -1.0]
    assert not over.onset(kl, gold, gold, window=1, threshold=0.5).found
    assert not over.onset(kl, kl, gold, window=1, threshold=3.0).found  # a drop must exceed the threshold
    assert not over.onset(kl, kl, kl, window=1, threshold=0.0).found


def test_a_flat_noisy_gold_is_seldom_called_over_optimised() -> None:
    draw = np.random.default_rng(1)
    steps = np.arange(60.0)
    called = sum(over.onset(steps, steps, draw.normal(size=60)).found for _ in range(200))
    assert called <= 20  # a rule on the bare maximum would call every one of them


def test_equal_kl_crosses_the_running_maximum_and_says_nan_beyond() -> None:
    at = over.at_equal_kl([0.0, 2.0, 1.0, 4.0], [0.0, 10.0, 99.0, 30.0], [1.0, 2.0, 3.0, 5.0], window=1)
    assert at[:3].tolist() == [5.0, 10.0, 20.0]
    assert np.isnan(at[3])


def test_common_kl_is_the_overlap() -> None:
    assert over.common_kl([[0.0, 4.0], [1.0, 3.0]], 3, 1).tolist() == [1.0, 2.0, 3.0]
    assert not len(over.common_kl([[0.0, 1.0], [2.0, 3.0]], 3, 1))


def test_area_is_the_mean_and_a_short_run_keeps_its_last_value() -> None:
    assert over.area_under_gold([0.0, 2.0], [0.0, 2.0], 2.0, window=1) == pytest.approx(1.0)
    assert over.area_under_gold([0.0, 1.0], [0.0, 2.0], 2.0, window=1) == pytest.approx(1.5, abs=1e-3)


@pytest.mark.parametrize("curve", [[], [1.0, float("nan")], [1.0, float("inf")]])
def test_bad_curves_are_named(curve: list[float]) -> None:
    with pytest.raises(GuerdonError, match="gold"):
        over.onset([0.0] * max(1, len(curve)), [0.0] * max(1, len(curve)), curve)
