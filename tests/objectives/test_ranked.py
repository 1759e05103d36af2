"""Plackett–Luce DPO, LiPO and TPO by hand (cards 161 and 169)."""

import math

import pytest
import torch

from guerdon.batch import Batch, Lists, Pairs, Steps
from guerdon.errors import GuerdonError
from guerdon.objectives import Objective, dpo, dpo_ranking, lipo, tpo_tree
from guerdon.objectives.ranked import lambdas, rescaled, step_margins, step_numbers


def listed(ratios: list[float], value: list[float], rows: list[int] | None = None) -> Batch:
    """One list of one-step rows whose log-ratios are ``ratios``."""
    policy = torch.tensor(ratios, dtype=torch.float64)[:, None].requires_grad_()
    steps = Steps(
        torch.ones(len(ratios), 1, dtype=torch.bool), {"policy": policy, "reference": torch.zeros_like(policy)}
    )
    at = torch.tensor([rows if rows is not None else list(range(len(ratios)))])
    lists = Lists(at, torch.tensor([value], dtype=torch.float64))
    return Batch(steps, pairs=Pairs(torch.tensor([0]), torch.tensor([1])), lists=lists)


def value(objective: Objective, batch: Batch) -> float:
    return objective.loss(batch).value.item()


def log_sigmoid(x: float) -> float:
    return -math.log1p(math.exp(-x))


def test_two_rows_are_dpo():
    batch = listed([0.5, -0.5], [1.0, 0.0])
    assert value(dpo_ranking(0.1), batch) == pytest.approx(value(dpo(0.1), batch), abs=1e-12)
    assert value(dpo_ranking(0.1), batch) == pytest.approx(0.644397, abs=1e-6)


def test_a_ranking_by_hand():
    z = [0.3, -0.2, 0.1]
    order = [2, 0, 1]  # values 2, 1, 3
    expected = sum(math.log(sum(math.exp(z[j]) for j in order[k:])) - z[order[k]] for k in range(3))
    assert value(dpo_ranking(1.0), listed(z, [2.0, 1.0, 3.0])) == pytest.approx(expected, abs=1e-12)
    first = math.log(sum(map(math.exp, z))) - z[2]
    assert value(dpo_ranking(1.0, top=1), listed(z, [2.0, 1.0, 3.0])) == pytest.approx(first, abs=1e-12)


def test_lambda_of_the_card():
    """v = (1, ½, 0) at ranks 1, 2, 3, natural logarithm."""
    lists = Lists(torch.tensor([[0, 1, 2]]), torch.tensor([[1.0, 0.5, 0.0]], dtype=torch.float64))
    found = lambdas(torch.tensor([[3.0, 2.0, 1.0]]), lists)[0]
    assert [found[i][j].item() for i, j in ((0, 1), (0, 2), (1, 2))] == pytest.approx(
        [0.311905, 0.721348, 0.078242], abs=1e-6
    )
    assert torch.equal(found, found.T)


def test_lambda_is_a_constant_of_the_gradient():
    batch = listed([0.3, -0.2, 0.1], [1.0, 0.5, 0.0])
    policy = batch.steps.logp["policy"]
    (found,) = torch.autograd.grad(tpo_tree(1.0, adaptive=False).loss(batch).value, policy)
    z, fixed = policy.detach()[:, 0], lambdas(policy.detach().T, batch.lists)[0]
    expected = torch.zeros(3, dtype=torch.float64)
    for i, j in ((0, 1), (0, 2), (1, 2)):
        push = fixed[i, j] * torch.sigmoid(-(z[i] - z[j]))
        expected[i] -= push
        expected[j] += push
    torch.testing.assert_close(found[:, 0], expected, rtol=0, atol=1e-12)


def test_lambda_starts_where_policy_and_reference_are_equal():
    """Every z is 0: places come from the values, so no pair of different values has weight 0, in any column order."""
    for order in ([0, 1, 2], [2, 0, 1]):
        worth = [[1.0, 0.5, 0.0][i] for i in order]
        batch = listed([0.0, 0.0, 0.0], worth)
        expected = (0.311905 + 0.721348 + 0.078242) * math.log(2)
        assert value(tpo_tree(0.5, adaptive=False), batch) == pytest.approx(expected, abs=1e-5)


def test_rows_of_equal_value_may_be_swapped():
    z, worth = [0.3, -0.2, 0.1, 0.0], [1.0, 0.5, 0.5, 0.0]
    swapped = [[0.3, 0.1, -0.2, 0.0], worth]
    for objective in (tpo_tree(1.0, adaptive=False), lipo(1.0), lipo(1.0, "softmax")):
        assert value(objective, listed(z, worth)) == pytest.approx(value(objective, listed(*swapped)), abs=1e-12)


def test_a_missing_row_changes_nothing():
    for objective in (lipo(1.0), lipo(1.0, "softmax"), tpo_tree(1.0, adaptive=False), dpo_ranking(1.0)):
        short = listed([0.3, -0.2], [1.0, 0.25])
        padded = listed([0.3, -0.2], [1.0, 0.25, float("nan")], rows=[0, 1, -1])
        assert value(objective, padded) == pytest.approx(value(objective, short), abs=1e-12)


def test_lipo_by_hand():
    """Two rows: λ = |2 − 2^¼|·|1/ln 2 − 1/ln 3|, whichever comes first; softmax: shares 0.8 and 0.2."""
    batch = listed([0.5, -0.5], [1.0, 0.25])
    weight = (2 - 2**0.25) * (1 / math.log(2) - 1 / math.log(3))
    assert value(lipo(0.05), batch) == pytest.approx(-weight * log_sigmoid(0.05), abs=1e-12)
    expected = -(0.8 * log_sigmoid(0.05) + 0.2 * log_sigmoid(-0.05))
    assert value(lipo(0.05, "softmax"), batch) == pytest.approx(expected, abs=1e-12)


def test_shares_of_the_softmax_are_of_the_whole():
    """Values of 0.3 and 0.1 are shares of ¾ and ¼."""
    expected = -(0.75 * log_sigmoid(0.05) + 0.25 * log_sigmoid(-0.05))
    assert value(lipo(0.05, "softmax"), listed([0.5, -0.5], [0.3, 0.1])) == pytest.approx(expected, abs=1e-7)


def test_a_missing_row_is_no_end_of_the_scale():
    found = rescaled(Lists(torch.tensor([[3, 1, -1], [2, 0, 1]]), torch.tensor([[6.0, 2.0, 99.0], [4.0, 4.0, 4.0]])))
    assert found.values().tolist() == [[1.0, 0.0, 0.0], [0.0, 0.0, 0.0]]


def test_rescaled_values_lie_between_0_and_1():
    """Scores of 2, 6 and 10 are labels of 0, ½ and 1."""
    plain, scored = listed([0.3, -0.2, 0.1], [0.0, 0.5, 1.0]), listed([0.3, -0.2, 0.1], [2.0, 6.0, 10.0])
    for kind in ("lambda", "softmax"):
        assert value(lipo(1.0, kind, rescale=True), scored) == pytest.approx(value(lipo(1.0, kind), plain), abs=1e-12)
    with pytest.raises(GuerdonError, match="negative"):
        value(lipo(1.0, "softmax"), listed([0.3, -0.2], [-1.0, 1.0]))


def tree(
    ratios: list[list[float]], spans: list[list[int]], embeddings: list[list[list[float]]], value: list[float]
) -> Batch:
    """Rows of several tokens with steps; ragged rows are padded with NaN."""
    width = max(map(len, ratios))

    def padded(rows: list[list[float]], fill: float) -> torch.Tensor:
        return torch.tensor([[*r, *[fill] * (width - len(r))] for r in rows], dtype=torch.float64)

    policy = padded(ratios, float("nan")).requires_grad_()
    mask = torch.tensor([[i < len(r) for i in range(width)] for r in ratios])
    steps = Steps(
        mask, {"policy": policy, "reference": torch.zeros_like(policy)}, spans={"step": padded(spans, 7).long()}
    )
    lists = Lists(torch.arange(len(ratios))[None], torch.tensor([value], dtype=torch.float64))
    columns = {"step_embeddings": [torch.tensor(e, dtype=torch.float64) for e in embeddings]}
    return Batch(steps, pairs=Pairs(torch.tensor([0]), torch.tensor([1])), lists=lists, columns=columns)


ACROSS, UP = [1.0, 0.0], [0.0, 1.0]


def margin(batch: Batch) -> float:
    return step_margins(batch.steps, batch.columns["step_embeddings"], batch.lists)[0, 0, 1].item()


def test_orthogonal_steps_weigh_1_and_equal_ones_2():
    ratios, spans = [[0.1, 0.4], [0.1, -0.2]], [[0, 1], [0, 1]]
    apart = tree(ratios, spans, [[ACROSS, UP], [ACROSS, ACROSS]], [1.0, 0.0])
    assert margin(apart) == pytest.approx(0.6, abs=1e-12)
    same = tree(ratios, spans, [[ACROSS, UP], [ACROSS, UP]], [1.0, 0.0])
    assert margin(same) == pytest.approx(1.2, abs=1e-12)
    opposite = tree(ratios, spans, [[ACROSS, UP], [ACROSS, [0.0, -1.0]]], [1.0, 0.0])
    assert margin(opposite) == pytest.approx(0.0, abs=1e-12)


def test_a_shared_step_after_the_same_prefix_gives_exactly_nothing():
    batch = tree([[0.1, 0.4], [0.1, -0.2]], [[0, 1], [0, 1]], [[ACROSS, UP], [ACROSS, ACROSS]], [1.0, 0.0])
    value_of = tpo_tree(1.0).loss(batch).value
    (found,) = torch.autograd.grad(value_of, batch.steps.logp["policy"])
    assert found[0, 0].item() == -found[1, 0].item()  # one token of one prefix: the two pushes cancel in the model
    moved = tree([[0.7, 0.4], [0.7, -0.2]], [[0, 1], [0, 1]], [[ACROSS, UP], [ACROSS, ACROSS]], [1.0, 0.0])
    assert margin(moved) == pytest.approx(margin(batch), abs=1e-12)


def test_two_rows_without_weights_are_dpo():
    """N = 2, λ = 1, step weights 1: orthogonal embeddings throughout; λ of v = (1, 0) is |1/ln 2 − 1/ln 3|."""
    batch = tree([[0.1, 0.2, 0.2], [0.0, -0.5]], [[0, 0, 1], [0, 1]], [[ACROSS, ACROSS], [UP, UP]], [1.0, 0.0])
    weight = 1 / math.log(2) - 1 / math.log(3)
    assert value(tpo_tree(0.1), batch) == pytest.approx(weight * value(dpo(0.1), batch), abs=1e-12)
    assert value(tpo_tree(0.1), batch) == pytest.approx(value(tpo_tree(0.1, adaptive=False), batch), abs=1e-12)


def test_steps_beyond_the_shorter_response_join_its_last_one():
    """Steps 2 and 3 of the first row meet step 2 of the second; their joint embedding is their mean over tokens."""
    batch = tree([[0.1, 0.2, 0.3], [0.5, -0.4]], [[0, 1, 2], [0, 1]], [[ACROSS, ACROSS, UP], [UP, UP]], [1.0, 0.0])
    expected = (0.1 - 0.5) + (1 + math.sqrt(0.5)) * (0.5 + 0.4)
    assert margin(batch) == pytest.approx(expected, abs=1e-12)


def test_tokens_outside_every_step_count_plainly():
    batch = tree([[0.1, 0.4], [0.1, -0.2]], [[0, -1], [0, -1]], [[ACROSS], [ACROSS]], [1.0, 0.0])
    assert margin(batch) == pytest.approx(0.6, abs=1e-12)


def test_padding_on_the_left_changes_nothing():
    """Spans stand under the padding too, and are not read there."""
    batch = tree([[0.1, 0.4], [0.1, -0.2]], [[0, 1], [0, 1]], [[ACROSS, UP], [ACROSS, UP]], [1.0, 0.0])
    before = torch.full((2, 2), float("nan"), dtype=torch.float64)
    logp = {k: torch.cat([before, x], 1) for k, x in batch.steps.logp.items()}
    spans = {"step": torch.cat([torch.tensor([[5, 0], [1, 1]]), batch.steps.spans["step"]], 1)}
    mask = torch.cat([torch.zeros(2, 2, dtype=torch.bool), batch.steps.mask], 1)
    padded = Batch(Steps(mask, logp, spans=spans), lists=batch.lists, columns=batch.columns)
    assert value(tpo_tree(), padded) == value(tpo_tree(), batch)


def test_margins_are_antisymmetric_and_embeddings_are_data():
    batch = tree([[0.1, 0.2, 0.3], [0.5, -0.4]], [[4, 2, 2], [0, 1]], [[ACROSS, [1.0, 1.0]], [UP, UP]], [1.0, 0.0])
    for e in batch.columns["step_embeddings"]:
        e.requires_grad_()
    found = step_margins(batch.steps, batch.columns["step_embeddings"], batch.lists)
    torch.testing.assert_close(found, -found.transpose(1, 2), rtol=0, atol=1e-15)
    assert torch.autograd.grad(found.sum(), batch.columns["step_embeddings"], allow_unused=True) == (None, None)
    assert step_numbers(batch.steps).tolist() == [[0, 1, 1], [0, 1, -1]]


def test_the_reference_is_never_trained():
    batch = tree([[0.1, 0.4], [0.1, -0.2]], [[0, 1], [0, 1]], [[ACROSS, UP], [ACROSS, UP]], [1.0, 0.0])
    reference = torch.zeros(2, 2, dtype=torch.float64, requires_grad=True)
    steps = Steps(batch.steps.mask, {**batch.steps.logp, "reference": reference}, spans=batch.steps.spans)
    for objective in (tpo_tree(), tpo_tree(adaptive=False), lipo(), dpo_ranking()):
        loss = objective.loss(Batch(steps, lists=batch.lists, columns=batch.columns)).value
        assert torch.autograd.grad(loss, reference, allow_unused=True) == (None,)


def test_what_cannot_be_is_refused():
    with pytest.raises(GuerdonError, match="'lambda' or 'softmax'"):
        lipo(kind="mse")
    with pytest.raises(GuerdonError, match="2 steps, but 1"):
        margin(tree([[0.1, 0.4], [0.1, -0.2]], [[0, 1], [0, 1]], [[ACROSS], [ACROSS, UP]], [1.0, 0.0]))
