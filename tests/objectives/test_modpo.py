"""MODPO by hand (card 142)."""

import math

import pytest
import torch

from guerdon.batch import Batch, Pairs, Steps
from guerdon.errors import GuerdonError
from guerdon.objectives import Objective, column, dpo, log_ratio, modpo, scaled
from guerdon.worlds.finite import exact


def scored(score: list[float], margin: list[float] | None = None) -> Batch:
    """T1 (h = 1) with a score a row."""
    logp = {"policy": torch.tensor([[-1.0], [-2.0]], requires_grad=True), "reference": torch.full((2, 1), -1.5)}
    pairs = Pairs(torch.tensor([0]), torch.tensor([1]), margin=None if margin is None else torch.tensor(margin))
    return Batch(Steps(torch.ones(2, 1, dtype=torch.bool), logp), pairs=pairs, columns={"score": score})


def value(objective: Objective, batch: Batch) -> float:
    return objective.loss(batch).value.item()


def test_the_card():
    """w_k = ½, β = 0.1, a reward difference of 0.2: the logit is 0.2·1 − 1·0.2 = 0."""
    assert value(modpo(0.1, 0.5), scored([0.2, 0.0])) == pytest.approx(math.log(2), abs=1e-6)


def test_a_higher_reward_of_the_winner_asks_for_less():
    """The sign is minus: with Δr = 0.2 the logit is 0, with −0.2 it is 0.4."""
    assert value(modpo(0.1, 0.5), scored([0.0, 0.2])) == pytest.approx(math.log1p(math.exp(-0.4)), abs=1e-6)


def test_all_the_weight_is_dpo():
    batch = scored([3.0, -1.0])
    assert value(modpo(0.1, 1.0), batch) == value(dpo(0.1), batch)
    assert value(modpo(0.1, 1.0, others=()), batch) == value(dpo(0.1), batch)


def test_constants_of_the_prompt_cancel_and_margins_are_not_read():
    plain = value(modpo(0.1, 0.3), scored([0.7, 0.2]))
    assert value(modpo(0.1, 0.3), scored([10.7, 10.2])) == pytest.approx(plain, abs=1e-5)
    assert value(modpo(0.1, 0.3), scored([0.7, 0.2], margin=[5.0])) == plain


def test_an_implicit_reward_is_beta_times_the_log_ratio_and_never_trained():
    guide = torch.tensor([[-0.5], [-2.5]], requires_grad=True)
    batch = scored([0.0, 0.0])
    batch = Batch(Steps(batch.steps.mask, {**batch.steps.logp, "guide": guide}), pairs=batch.pairs)
    objective = modpo(0.1, 0.5, ((0.5, scaled(0.1, log_ratio("guide"))),))
    loss = objective.loss(batch).value
    logit = 0.2 * 1.0 - 1.0 * 0.1 * 2.0
    assert loss.item() == pytest.approx(math.log1p(math.exp(-logit)), abs=1e-6)
    assert torch.autograd.grad(loss, guide, allow_unused=True) == (None,)


def test_the_optimum_tilts_by_the_weighted_sum():
    """Two rewards on four responses: soft labels of r_1 on all pairs and r_2 in the margin give
    π ∝ π_ref·e^{(w r_1 + (1−w) r_2)/β}."""
    torch.manual_seed(0)
    beta, weight = 0.5, 0.4
    first, second, reference = torch.randn(3, 4, dtype=torch.float64)
    reference = reference.log_softmax(-1)
    i, j = torch.triu_indices(4, 4, 1)
    pairs = Pairs(i, j, preferred=torch.sigmoid(first[i] - first[j]).float())
    logits = torch.nn.Parameter(reference.clone())
    objective = modpo(beta, weight)

    def loss() -> torch.Tensor:
        logp = {"policy": logits.log_softmax(-1)[:, None], "reference": reference[:, None]}
        steps = Steps(torch.ones(4, 1, dtype=torch.bool), logp)
        return objective.loss(Batch(steps, pairs=pairs, columns={"score": second.tolist()})).value

    solver = torch.optim.LBFGS([logits], max_iter=200, tolerance_grad=1e-9, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        solver.zero_grad()
        found = loss()
        found.backward()
        return found

    solver.step(closure)
    expected = exact.tilted(reference, weight * first + (1 - weight) * second, beta)
    torch.testing.assert_close(logits.detach().log_softmax(-1), expected, rtol=0, atol=1e-4)


def test_a_column_is_read_by_row():
    assert column().call(scored([3.0, 4.0]), scored([3.0, 4.0]).pairs, -1).item() == 4.0
    assert modpo(others=((0.5, column("cost")),)).needs[-1] == "columns.cost"


def test_what_cannot_be_is_refused():
    for weight in (0.0, -0.5, 1.5):
        with pytest.raises(GuerdonError, match=r"\(0, 1\]"):
            modpo(weight=weight)
