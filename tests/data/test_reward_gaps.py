"""Easy and hard pairs by a cross-fitted gap (card 175)."""

import math
from collections.abc import Sequence

import pytest

from guerdon.batch import Preference
from guerdon.data import by_gap, cross_fitted, told
from guerdon.errors import DataError

RECORDS = [Preference.pair(f"p{i // 2}", f"yes {i}", f"no {i}") for i in range(8)]


def test_a_partition():
    gaps = [0.1, 2.0, -1.0, 0.5, 3.0, 0.0, 0.4, 0.6]
    easy, hard = by_gap(RECORDS, gaps, 0.45)
    assert [told(r)[-1]["gap"] for r in easy] == [2.0, 0.5, 3.0, 0.6]
    assert [told(r)[-1]["gap"] for r in hard] == [0.1, -1.0, 0.0, 0.4]
    assert told(easy[0])[-1] == {"transform": "by_gap", "gap": 2.0, "threshold": 0.45, "side": "easy"}
    assert sorted(r.response_text(0) for r in (*easy, *hard)) == sorted(r.response_text(0) for r in RECORDS)
    assert [r.response_text(0) for r in easy] == ["yes 1", "yes 3", "yes 4", "yes 7"]


def test_the_ends_of_the_threshold():
    gaps = [0.1, 2.0, -1.0, 0.5, 3.0, 0.0, 0.4, 0.6]
    assert [len(side) for side in by_gap(RECORDS, gaps, -math.inf)] == [8, 0]
    assert [len(side) for side in by_gap(RECORDS, gaps, math.inf)] == [0, 8]
    assert [len(side) for side in by_gap(RECORDS, gaps)] == [4, 4]  # the median, 0.45
    assert told(by_gap(RECORDS, [-x for x in gaps])[1][0])[-1]["threshold"] == 0.0  # never below 0


def test_gaps_far_below_0_are_dropped_if_told_so():
    easy, hard = by_gap(RECORDS, [0.1, 2.0, -1.0, 0.5, 3.0, -0.2, 0.4, 0.6], 0.45, noise="drop")
    assert len(easy) == 4 and [told(r)[-1]["gap"] for r in hard] == [0.1, -0.2, 0.4]


def test_no_pair_judges_itself():
    """Whoever fits remembers its prompts; no fold is judged by a model that saw its prompt."""

    def fit(records: Sequence[Preference]):
        seen = {r.prompt_text for r in records}
        return lambda record: float(record.prompt_text in seen)

    assert cross_fitted(RECORDS, fit, folds=2) == [0.0] * 8
    assert cross_fitted(RECORDS, fit, folds=4, seed=3) == [0.0] * 8


def test_what_cannot_be_is_refused():
    with pytest.raises(DataError, match="folds ≤ prompts"):
        cross_fitted(RECORDS[:2], lambda records: lambda record: 0.0)
    with pytest.raises(DataError, match="'hard' or 'drop'"):
        by_gap(RECORDS, [0.0] * 8, noise="keep")
    with pytest.raises(DataError, match="a gap a record"):
        by_gap(RECORDS, [0.0] * 7)
