"""CRD (card 29): predictions at one shared probe, centred within the prompt, regressed on centred rewards."""

import pytest
import torch

from guerdon import reduce
from guerdon.batch import Batch, Partition, Predictions
from guerdon.objectives import Objective, Term


def crd(beta: float = 1.0, limit: float = 5.0) -> Objective:
    def unit(batch: Batch, stats) -> torch.Tensor:
        steps, prompt = batch.steps, batch.columns["prompt"]
        implicit = reduce.average(steps.log_ratio("policy", "old"), steps.mask)
        reward = batch.scores["reward"].filled()
        implicit = implicit - reduce.group_mean(implicit.detach(), prompt)
        centred = reward - reduce.group_mean(reward, prompt)
        return limit / beta * (beta * implicit - centred).square()

    needs = ("steps.logp.policy", "steps.logp.old", "scores.reward", "columns.prompt")
    return Objective((Term("crd", needs, unit, lambda b: b.steps.mask.any(-1).float()),))


def batch(policy_error: list[float], reward: list[float], shift: float = 0.0) -> Batch:
    from guerdon.batch import Channel, Scores

    mask = torch.tensor([[True, False]] * len(reward))
    target = torch.full((len(reward), 2, 4), float("nan"))
    target[:, 0] = 0.0
    gap = torch.tensor(policy_error).sqrt()[:, None, None].expand(-1, 2, 4).clone().requires_grad_()
    predictions = Predictions(mask, target, {"policy": gap, "old": torch.ones_like(gap)})
    return Batch(
        predictions=predictions,
        scores=Scores({"reward": Channel(torch.tensor(reward) + shift)}),
        columns={"prompt": Partition.whole(len(reward)).ids},
    )


def test_card_value():
    # errors 0.8 and 1.2 against 1: implicit rewards ±0.2; rewards 1 and 0: squared residual 0.09, times A_max/β = 5
    loss = crd().loss(batch([0.8, 1.2], [1.0, 0.0])).value
    assert loss.item() == pytest.approx(5 * 0.09, abs=1e-6)


def test_a_constant_of_the_prompt_changes_nothing():
    a, b = (crd().loss(batch([0.8, 1.2], [1.0, 0.0], shift)).value.item() for shift in (0.0, 3.0))
    assert a == pytest.approx(b, abs=1e-6)


def test_at_the_old_policy_the_loss_is_the_variance_of_the_reward():
    loss = crd().loss(batch([1.0, 1.0], [1.0, 0.0])).value
    assert loss.item() == pytest.approx(5 * 0.25, abs=1e-6)
