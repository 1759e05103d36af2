"""Losses of lists: hand values, ragged lists, splits, metrics."""

from __future__ import annotations

import math

import pytest
import torch

from guerdon.batch import Batch, Lists, Steps
from guerdon.objectives import listwise, log_ratio, logistic, pairwise, plackett_luce, scaled
from tests.shapes.toys import one_pair

BETA = 0.5
RATIOS = [1.0, -0.5, 0.2, 3.0, 0.0]


def batch(lists: Lists, ratios=RATIOS) -> Batch:
    policy = torch.tensor(ratios)[:, None].requires_grad_()
    steps = Steps(torch.ones(len(ratios), 1, dtype=torch.bool), {"policy": policy, "reference": 0 * policy.detach()})
    return Batch(steps, lists=lists)


LISTS = Lists(torch.tensor([[2, 0, 1], [4, 3, -1]]), torch.tensor([[1.0, 3.0, 2.0], [0.0, 1.0, 9.0]]))
RANKED = listwise(scaled(BETA, log_ratio()), plackett_luce())


def log_sum(*z: float) -> float:
    return math.log(sum(math.exp(x) for x in z))


def test_plackett_luce_by_hand():
    # ranks by value: rows 0, 1, 2 with z = 0.5, −0.25, 0.1; rows 3, 4 with z = 1.5, 0
    first = (log_sum(0.5, -0.25, 0.1) - 0.5) + (log_sum(-0.25, 0.1) + 0.25)
    second = log_sum(1.5, 0.0) - 1.5
    assert RANKED.loss(batch(LISTS)).value.item() == pytest.approx((first + second) / 2, abs=1e-6)
    best = listwise(scaled(BETA, log_ratio()), plackett_luce(top=1)).loss(batch(LISTS)).value.item()
    assert best == pytest.approx((log_sum(0.5, -0.25, 0.1) - 0.5 + second) / 2, abs=1e-6)


def test_two_rows_are_a_pair():
    two = batch(Lists(torch.tensor([[0, 1]]), torch.tensor([[2.0, 1.0]])), RATIOS[:2])
    pair = Batch(two.steps, pairs=one_pair())
    same = pairwise(scaled(BETA, log_ratio()), logistic()).loss(pair).value.item()
    assert RANKED.loss(two).value.item() == pytest.approx(same, abs=1e-7)


def test_weights_enter_both_sides_and_lists_of_one_row_have_none():
    lists = Lists(torch.tensor([[0, 1], [3, -1]]), torch.tensor([[1.0, 0.0], [1.0, 0.0]]), torch.tensor([3.0, 5.0]))
    assert float(RANKED.denominators([batch(lists)])["listwise"]) == 3.0
    alone = Lists(torch.tensor([[0, 1]]), torch.tensor([[1.0, 0.0]]))
    assert RANKED.loss(batch(lists)).value.item() == pytest.approx(RANKED.loss(batch(alone)).value.item(), abs=1e-7)


def test_metrics_by_hand():
    found = {k: float(a / b) for k, (a, b) in RANKED.loss(batch(LISTS)).metrics.items()}
    # first list: 0≻1 right, 0≻2 right, 1≻2 wrong; second: right. Margins: 0.5 − 0.1, 1.5 − 0
    assert found["listwise/accuracy"] == pytest.approx((2 / 3 + 1) / 2, abs=1e-6)
    assert found["listwise/margin"] == pytest.approx((0.4 + 1.5) / 2, abs=1e-6)


def test_metrics_of_ties_and_of_lists_that_rank_nothing():
    """z of rows 0 and 3 is the same 0.5: a tie counts ½. Lists of equal values, of one or of no row rank nothing."""
    rows = torch.tensor([[0, 3, 1], [1, 2, -1], [4, -1, -1], [-1, -1, -1]])
    values = torch.tensor([[3.0, 2.0, 1.0], [1.0, 1.0, 9.0], [1.0, 9.0, 9.0], [9.0, 9.0, 9.0]])
    ratios = [1.0, -0.5, 0.2, 1.0, 0.0]
    found = RANKED.loss(batch(Lists(rows, values), ratios)).metrics
    right, count = found["listwise/accuracy"]
    assert (right.item(), count.item()) == (pytest.approx(2.5 / 3, abs=1e-6), 1.0)
    margin, count = found["listwise/margin"]
    assert (margin.item(), count.item()) == (pytest.approx(0.75, abs=1e-6), 1.0)


def test_a_split_changes_nothing():
    whole = batch(LISTS)
    parts = whole.split(2)
    assert len(parts) == 2
    shared = RANKED.denominators(parts)
    total = sum(RANKED.loss(p, shared).value for p in parts)
    assert total.item() == pytest.approx(RANKED.loss(whole).value.item(), abs=1e-7)
