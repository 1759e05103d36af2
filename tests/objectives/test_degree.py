"""SPO's degree loss (card 148) and RSO's links (card 159)."""

import math
from dataclasses import replace

import pytest
import torch

from guerdon.batch import Batch, Lists, Pairs, Steps
from guerdon.errors import GuerdonError
from guerdon.objectives import degree_loss, dpo, rso, spo_degree


def graded(heads: dict[str, list[list[float]]], rows: list[list[int]], lengths: list[int]) -> Batch:
    """Rows with value statistics; columns of a list are degrees."""
    width = max(lengths)
    mask = torch.tensor([[i < n for i in range(width)] for n in lengths])
    stats = {f"value:{k}": torch.tensor(v).requires_grad_() for k, v in heads.items()}
    policy = torch.zeros(len(lengths), width, requires_grad=True)
    logp = {"policy": policy, "reference": torch.full((len(lengths), width), -0.25)}
    return Batch(
        Steps(mask, logp, stats), pairs=Pairs(torch.tensor([0]), torch.tensor([1])), lists=Lists(torch.tensor(rows))
    )


def flat(count: int, heads: int, of: float = 0.0) -> dict[str, list[list[float]]]:
    return {f"degree{j}": [[of, of]] * count for j in range(heads)}


def test_a_zero_head_guesses():
    batch = graded(flat(4, 4), [[0, 1, 2, 3]], [2, 2, 1, 1])
    assert degree_loss(3).loss(batch).value.item() == pytest.approx(math.log(4), abs=1e-6)


def test_a_class_by_hand():
    """Two degrees; the pooled scores are means over live steps: NaN under the mask plays no part."""
    nan = float("nan")
    batch = graded({"degree0": [[2.0, 0.0], [1.0, nan]], "degree1": [[0.0, 0.0], [0.0, nan]]}, [[0, 1]], [2, 1])
    expected = (math.log1p(math.exp(-1.0)) + math.log1p(math.exp(1.0))) / 2
    assert degree_loss(1).loss(batch).value.item() == pytest.approx(expected, abs=1e-6)


def test_the_gradient_reaches_the_states():
    batch = graded(flat(2, 2), [[0, 1]], [2, 1])
    heads = [batch.steps.stats[f"value:degree{j}"] for j in (0, 1)]
    found = torch.autograd.grad(degree_loss(1).loss(batch).value, heads)
    assert found[0].tolist() == [[-0.125, -0.125], [0.25, 0.0]]
    assert found[1].tolist() == [[0.125, 0.125], [-0.25, 0.0]]


def test_weights_of_lists_count_in_both_kinds():
    """Cross-entropy of a zero head is log 2, of a sure one log(1 + e^{-2}) and log(1 + e^2): (½·log 2·2 + 2·…)/5. An
    order loss has a unit a list."""
    batch = graded({"degree0": [[0.0], [0.0], [2.0], [2.0]], "degree1": [[0.0]] * 4}, [[0, 1], [2, 3]], [1, 1, 1, 1])
    heavy = replace(batch, lists=Lists(batch.lists.rows, weight=torch.tensor([0.5, 2.0])))
    sure = math.log1p(math.exp(-2.0)) + math.log1p(math.exp(2.0))
    assert degree_loss(1).loss(heavy).value.item() == pytest.approx((math.log(2) + 2 * sure) / 5, abs=1e-6)
    assert degree_loss(1, "order").denominators([heavy])["degree"].item() == 2.5
    assert degree_loss(1, "order").needs == ("lists", "steps.stats.value:degree0")


def test_an_order_by_hand():
    batch = graded({"degree0": [[1.0], [0.5], [0.7]]}, [[0, 1, 2]], [1, 1, 1])
    expected = (1 - 0.5) + (1 - 0.3) + (1 + 0.2)
    assert degree_loss(2, "order").loss(batch).value.item() == pytest.approx(expected, abs=1e-6)
    settled = graded({"degree0": [[5.0], [2.5], [0.0]]}, [[0, 1, 2]], [1, 1, 1])
    assert degree_loss(2, "order").loss(settled).value.item() == 0.0


def test_a_response_without_key_content_is_left_out():
    """Lists of one row say nothing of an order, and a list with fewer copies is judged on those it has."""
    batch = graded(flat(3, 3, 1.0), [[0, 1, -1], [2, -1, -1]], [2, 1, 1])
    assert degree_loss(2, "order").denominators([batch])["degree"].item() == 1.0
    assert degree_loss(2).denominators([batch])["degree"].item() == 3.0
    assert degree_loss(2).loss(batch).value.item() == pytest.approx(math.log(3), abs=1e-6)


def test_gamma_0_is_the_base_loss():
    batch = graded(flat(4, 4), [[0, 1, 2, 3]], [2, 2, 1, 1])
    assert spo_degree(0.1, 0.0).needs == dpo(0.1).needs
    assert spo_degree(0.1, 0.0).loss(batch).value.item() == dpo(0.1).loss(batch).value.item()
    both = dpo(0.1).loss(batch).value.item() + 0.5 * math.log(4)
    assert spo_degree(0.1, 0.5).loss(batch).value.item() == pytest.approx(both, abs=1e-6)


def test_the_pair_never_sees_a_copy():
    """Rows 2 and 3 are copies: they get no gradient from the pair's loss."""
    batch = graded(flat(4, 4), [[0, 2, 3, -1]], [2, 2, 1, 1])
    loss = spo_degree(0.1, 0.5).loss(batch).value
    (found,) = torch.autograd.grad(loss, batch.steps.logp["policy"])
    assert found[2:].abs().sum().item() == 0.0 and found[:2].abs().sum().item() > 0


def test_what_cannot_be_is_refused():
    with pytest.raises(GuerdonError, match="'classify' or 'order'"):
        degree_loss(kind="sort")
    with pytest.raises(GuerdonError, match="2 degrees, but the lists have 3"):
        degree_loss(1).loss(graded(flat(3, 2), [[0, 1, 2]], [2, 1, 1]))
    with pytest.raises(GuerdonError, match="2 degrees, but the lists have 4"):
        degree_loss(1).loss(graded(flat(4, 2), [[0, 1, 2, 3]], [2, 1, 1, 1]))


def test_the_links_of_rso():
    """T1's h = 1 at γ = 0.05: log(1 + e^−0.05) and 1 − 0.05."""
    logp = {"policy": torch.tensor([[-1.0], [-2.0]], requires_grad=True), "reference": torch.full((2, 1), -1.5)}
    batch = Batch(Steps(torch.ones(2, 1, dtype=torch.bool), logp), pairs=Pairs(torch.tensor([0]), torch.tensor([1])))
    assert rso().loss(batch).value.item() == dpo(0.05).loss(batch).value.item()
    assert rso().loss(batch).value.item() == pytest.approx(math.log1p(math.exp(-0.05)), abs=1e-6)
    assert rso(0.05, "hinge-norm").loss(batch).value.item() == pytest.approx(0.95, abs=1e-6)
    with pytest.raises(GuerdonError, match="sigmoid-norm"):
        rso(link="hinge")
