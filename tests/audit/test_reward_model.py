"""The report on a scorer against values worked out by hand and by other libraries."""

import json
import math

import pytest
import torch
from scipy import stats

from guerdon.audit import correlation, evaluate_reward_model
from guerdon.errors import GuerdonError


def sigma(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def test_three_pairs_by_hand() -> None:
    """Margins 2, 0, −2: one right, one tie (½), one wrong."""
    report = evaluate_reward_model(
        torch.tensor([2.0, 5.0, 1.0]), torch.tensor([0.0, 5.0, 3.0]), bins=2, binning="width"
    )
    assert (report.pairs, report.ties, report.accuracy.estimate) == (3, 1, 0.5)
    low, high = sigma(-2), sigma(2)
    assert report.brier == pytest.approx((low**2 + 0.25 + high**2) / 3, abs=1e-12)
    assert report.log_loss == pytest.approx((-math.log(high) - math.log(0.5) - math.log(low)) / 3, abs=1e-12)
    # Bins [½, ¾) and [¾, 1]: the tie is exactly calibrated, the other two are right half the time at 0.881.
    assert [(b.count, b.accuracy.estimate) for b in report.reliability] == [(1, 0.5), (2, 0.5)]
    assert [b.confidence for b in report.reliability] == pytest.approx([0.5, high])
    assert report.ece == pytest.approx(2 / 3 * (high - 0.5), abs=1e-12)
    assert report.margin_mean == 0.0
    assert report.reward_length is None


def test_a_calibrated_scorer_has_no_error_and_an_overconfident_one_has() -> None:
    margin = math.log(3)  # confidence ¾
    chosen, rejected = torch.tensor([margin] * 3 + [0.0]), torch.tensor([0.0] * 3 + [margin])
    assert evaluate_reward_model(chosen, rejected).ece == pytest.approx(0.0, abs=1e-7)
    assert evaluate_reward_model(9 * chosen, 9 * rejected).ece == pytest.approx(0.25, abs=1e-3)


def test_equal_mass_bins_hold_equally_many_and_keep_equal_confidences_together() -> None:
    margins = torch.arange(1, 101, dtype=torch.float64) / 100
    report = evaluate_reward_model(margins, torch.zeros(100), bins=4)
    assert [b.count for b in report.reliability] == [25, 25, 25, 25]
    same = evaluate_reward_model(torch.ones(100), torch.zeros(100), bins=4)
    assert [b.count for b in same.reliability] == [100]


def test_the_report_does_not_depend_on_the_order_of_pairs() -> None:
    chosen, rejected = torch.randn(97).round(decimals=1), torch.randn(97).round(decimals=1)
    order = torch.randperm(97)
    one, other = (evaluate_reward_model(*x) for x in ((chosen, rejected), (chosen[order], rejected[order])))
    assert one.margin_counts == other.margin_counts
    assert [b.count for b in one.reliability] == [b.count for b in other.reliability]
    assert one.ece == pytest.approx(other.ece, abs=1e-12)


def test_adding_a_constant_to_all_scores_changes_nothing() -> None:
    chosen, rejected = torch.randn(50).double(), torch.randn(50).double()
    one, other = evaluate_reward_model(chosen, rejected), evaluate_reward_model(chosen + 4, rejected + 4)
    assert (one.accuracy, one.ties) == (other.accuracy, other.ties)
    assert (one.brier, one.ece) == pytest.approx((other.brier, other.ece), abs=1e-9)


def test_length_dependence_is_seen() -> None:
    chosen_length, rejected_length = torch.tensor([9, 2, 8, 3]), torch.tensor([1, 7, 2, 3])
    report = evaluate_reward_model(
        chosen_length.float(), rejected_length.float(), chosen_length=chosen_length, rejected_length=rejected_length
    )
    assert report.reward_length is not None
    assert report.reward_length.pearson == pytest.approx(1.0)
    assert report.margin_length is not None
    assert report.margin_length.spearman == pytest.approx(1.0)
    assert report.chosen_longer is not None
    assert report.chosen_shorter is not None
    assert (report.chosen_longer.estimate, report.chosen_longer.n) == (1.0, 2)
    assert (report.chosen_shorter.estimate, report.chosen_shorter.n) == (0.0, 1)


def test_correlations_are_those_of_scipy_ties_included() -> None:
    x, y = torch.randint(0, 6, (60,)).float(), torch.randn(60).round(decimals=1)
    found = correlation(x, x + y)
    assert found.pearson == pytest.approx(stats.pearsonr(x, x + y).statistic, abs=1e-6)
    assert found.spearman == pytest.approx(stats.spearmanr(x, x + y).statistic, abs=1e-12)
    assert correlation(torch.ones(4), torch.arange(4)) == correlation(torch.ones(1), torch.ones(1))
    assert correlation(torch.ones(4), torch.arange(4)).pearson is None


def test_the_histogram_holds_every_pair() -> None:
    report = evaluate_reward_model(torch.randn(321), torch.randn(321))
    assert sum(report.margin_counts) == 321
    assert len(report.margin_edges) == len(report.margin_counts) + 1
    assert json.loads(json.dumps(report.to_dict()))["pairs"] == 321


def test_extreme_scores_give_finite_numbers() -> None:
    report = evaluate_reward_model(torch.tensor([1e4, -1e4]), torch.tensor([-1e4, 1e4]))
    assert report.log_loss == pytest.approx(1e4)
    assert (report.brier, report.ece) == pytest.approx((0.5, 0.5))


@pytest.mark.parametrize(
    ("chosen", "rejected", "message"),
    [
        ([], [], r"chosen must have shape \[P\]"),
        ([1.0], [1.0, 2.0], r"rejected must have shape \[1\], but \[2\]"),
        ([1.0, float("nan")], [0.0, 0.0], r"chosen\[1\] is nan"),
        ([1.0], [float("inf")], r"rejected\[0\] is inf"),
    ],
)
def test_what_cannot_be_evaluated_is_named(chosen: list[float], rejected: list[float], message: str) -> None:
    with pytest.raises(GuerdonError, match=message):
        evaluate_reward_model(torch.tensor(chosen), torch.tensor(rejected))


def test_half_of_the_lengths_and_unknown_bins_are_refused() -> None:
    with pytest.raises(GuerdonError, match="both sides"):
        evaluate_reward_model(torch.ones(2), torch.zeros(2), chosen_length=torch.ones(2))
    with pytest.raises(GuerdonError, match="'mass' or 'width'"):
        evaluate_reward_model(torch.ones(2), torch.zeros(2), binning="equal")
