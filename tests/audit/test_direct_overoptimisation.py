"""The law of quality over distance and length inside implicit rewards (card 131)."""

import math

import numpy as np
import pytest

from guerdon.audit.direct_overoptimisation import Hump, fit_hump, length_law
from guerdon.errors import GuerdonError

KL = [0.0, 0.5, 1.0, 3.0, 10.0, 100.0, 1000.0]


def test_the_law_by_hand() -> None:
    law = Hump(0.5, 0.1, 1.0, 40.0)
    assert [law(k) for k in (1, 10, 100, 1000)] == pytest.approx([0.5, 1.217068, 2.697415, 4.889268], abs=1e-6)
    assert law(0.0) == 0.0 and law(1e-12) == pytest.approx(0.0, abs=1e-5)
    assert law.peak == pytest.approx(math.e**4) and not law.passed
    assert law.height == pytest.approx(law(law.peak**2), rel=1e-12)
    with pytest.raises(GuerdonError, match="at least 0"):
        law(-0.1)


def test_known_coefficients_come_back() -> None:
    law = Hump(0.9, 0.4, 1.0, 1.0)
    found = fit_hump(KL, [law(k) for k in KL])
    assert (found.alpha, found.beta, found.r2) == pytest.approx((0.9, 0.4, 1.0), abs=1e-9)
    assert found.peak == pytest.approx(math.exp(0.9 / 0.4 - 1)) and found.passed


def test_no_hump_where_quality_only_rises() -> None:
    found = fit_hump(KL, [math.sqrt(k) for k in KL])
    assert found.beta == pytest.approx(0.0, abs=1e-9)
    rising = Hump(0.5, -0.1, 1.0, 9.0)
    assert rising.peak == math.inf and rising.height == math.inf and not rising.passed


def test_what_cannot_be_fitted_is_refused() -> None:
    with pytest.raises(GuerdonError, match="three different KL"):
        fit_hump([0.0, 1.0, 1.0, 2.0], [0, 1, 1, 2])
    with pytest.raises(GuerdonError, match="at least 0"):
        fit_hump([-0.1, 1.0, 2.0, 3.0], [0, 1, 1, 2])
    with pytest.raises(GuerdonError, match="finite"):
        fit_hump([1.0, 2.0, 3.0], [1, math.nan, 1])


def test_length_explains_a_linear_reward_and_not_an_unrelated_one() -> None:
    length = [10.0, 20.0, 30.0, 40.0]
    found = length_law([1.0, 2.0, 3.0, 4.0], length)
    assert (found.slope, found.intercept, found.r2) == pytest.approx((0.1, 0.0, 1.0), abs=1e-12)
    assert length_law([1.0, -1.0, -1.0, 1.0], length).r2 == pytest.approx(0.0, abs=1e-12)
    assert np.isnan(length_law([1.0, 1.0, 1.0, 1.0], length).r2)
    with pytest.raises(GuerdonError, match="two lengths"):
        length_law([1.0, 2.0, 3.0], [5.0, 5.0, 5.0])
