"""Triple PO and TPO-L (card 172) by hand."""

import math

import pytest
import torch
from torch import Tensor

from guerdon.batch import Batch, Lists, Steps
from guerdon.errors import GuerdonError
from guerdon.objectives import Objective, cpo, dpo, sft, triple_po, triple_po_l
from tests.objectives.test_losses import T1, pair, value


def lists(rows: list[list[float]], at: list[list[int]], worth: list[list[float]], **more: Tensor) -> Batch:
    """Rows of log-probs of unequal length, and lists of them."""
    width = max(len(r) for r in rows)
    mask = torch.tensor([[i < len(r) for i in range(width)] for r in rows])
    table = torch.tensor([[*r, *[math.nan] * (width - len(r))] for r in rows]).requires_grad_()
    return Batch(Steps(mask, {"policy": table}), lists=Lists(torch.tensor(at), torch.tensor(worth), **more))


# The gold row has a mean of −1.2; y_w and y_l are T1's. They stand in no particular order.
TRIPLE = lists([[-2.0], [-0.9, -1.5], [-1.0]], [[0, 1, 2]], [[0.1, 9.0, 3.0]])


def slopes(objective: Objective, batch: Batch) -> list[float]:
    (found,) = torch.autograd.grad(objective.loss(batch).value, batch.steps.logp["policy"])
    return found.nan_to_num().sum(-1).tolist()


def test_triple_by_hand() -> None:
    """Card 172: T1, β = .1, α = 1, mean NLL 1.2 → 1.844397."""
    assert value(triple_po(0.1, 1.0), TRIPLE) == pytest.approx(1.844397, abs=1e-6)
    assert value(triple_po(0.1, 0.5), TRIPLE) == pytest.approx(0.644397 + 0.6, abs=1e-6)


def test_triple_l_by_hand() -> None:
    """Means: y_w −1, y_l −2, so −log σ(2·1 − 0.5) + 1.2."""
    assert value(triple_po_l(2.0, 0.5), TRIPLE) == pytest.approx(math.log1p(math.exp(-1.5)) + 1.2, abs=1e-6)


def test_without_the_gold_term_it_is_a_plain_pair() -> None:
    """α = 0: DPO with a uniform reference on the second best and the worst."""
    assert value(triple_po(0.1, 0.0), TRIPLE) == pytest.approx(value(dpo(0.1), pair(*T1)), abs=1e-7)


def test_a_list_of_two_is_cpo() -> None:
    """The best row is then the one that is cloned and the one that is preferred."""
    two = lists([[-2.0, -0.5], [-0.9, -1.5, -0.1]], [[0, 1, -1]], [[0.0, 1.0, 7.0]])
    plain = pair([-2.5, -2.5], lengths=(3, 2))
    assert value(triple_po(0.1), two) == pytest.approx(value(cpo(0.1), plain), abs=1e-6)


def test_each_response_has_its_own_part() -> None:
    """The gold row is only cloned, the worst only pushed down, and rows in the middle are left alone."""
    four = lists([[-2.0], [-0.9, -1.5], [-1.0], [-3.0]], [[0, 1, 2, 3]], [[0.1, 9.0, 3.0, 2.0]])
    down, cloned, up, middle = slopes(triple_po(0.1, 1.0), four)
    assert cloned == pytest.approx(-1.0) and middle == 0.0
    assert down == pytest.approx(-up) and down == pytest.approx(0.047502, abs=1e-6)


def test_gold_steps_weigh_alike_over_lists() -> None:
    """The NLL is a mean over the steps of all gold rows, not over responses; the pair is a mean over lists."""
    rows = [[-2.0], [-0.9, -1.5], [-1.0], [-0.5], [-4.0], [-6.0]]
    both = lists(rows, [[0, 1, 2], [3, 4, 5]], [[0.0, 2.0, 1.0], [2.0, 1.0, 0.0]])
    nll = (0.9 + 1.5 + 0.5) / 3
    pairs = (math.log1p(math.exp(-0.1)) + math.log1p(math.exp(-0.2))) / 2
    assert value(triple_po(0.1), both) == pytest.approx(pairs + nll, abs=1e-6)
    assert value(sft(), both) != pytest.approx(nll)
    parts = both.split(2)
    stats, whole = triple_po(0.1).couple(parts), triple_po(0.1).denominators(parts)
    shares = [triple_po(0.1).loss(part, whole, stats).value.item() for part in parts]
    assert sum(shares) == pytest.approx(pairs + nll, abs=1e-6)


def test_lone_rows_and_weightless_lists_count_for_nothing() -> None:
    rows, at, worth = [[-2.0], [-1.0], [-1.0], [-9.0]], [[0, 1, 2], [3, -1, -1]], [[0.0, 2.0, 1.0], [1.0, 0.0, 0.0]]
    assert slopes(triple_po(), lists(rows, at, worth))[3] == 0.0
    none = lists(rows[:3], [[0, 1, 2], [-1, -1, -1]], [[0.0, 2.0, 1.0], [0.0, 0.0, 0.0]])
    alone = lists(rows[:3], [[0, 1, 2]], [[0.0, 2.0, 1.0]])
    assert value(triple_po(), none) == pytest.approx(value(triple_po(), alone), abs=1e-7)
    off = lists(rows, at, worth, weight=torch.tensor([0.0, 1.0]))
    assert value(triple_po(), off) == 0.0
    with pytest.raises(GuerdonError, match="carry no values"):
        value(triple_po(), Batch(TRIPLE.steps, lists=Lists(torch.tensor([[0, 1, 2]]))))
