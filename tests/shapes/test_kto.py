"""KTO (card 144): a statistic coupled over the whole batch, without gradient, from mismatched rows."""

import pytest
import torch

from guerdon import reduce
from guerdon.batch import Batch, Steps
from guerdon.objectives import Objective, Term


def kto(beta: float = 0.1, desirable: float = 1.0, undesirable: float = 1.0) -> Objective:
    def rho(batch: Batch) -> torch.Tensor:
        return reduce.total(batch.steps.log_ratio(), batch.steps.mask)

    def couple(batch: Batch) -> dict[str, torch.Tensor]:
        mismatched = rho(batch)[batch.rows["mismatched"]]
        return {"sum": mismatched.sum(), "count": torch.tensor(float(len(mismatched)))}

    def unit(batch: Batch, stats) -> torch.Tensor:
        z0 = (beta * stats["sum"] / stats["count"].clamp(min=1)).clamp(min=0)
        rows = batch.rows["labelled"]
        z, good = beta * rho(batch)[rows], batch.columns["label"][rows]
        gain = torch.where(good, torch.sigmoid(z - z0), torch.sigmoid(z0 - z))
        return torch.where(good, desirable, undesirable) * (1 - gain)

    def weight(batch: Batch) -> torch.Tensor:
        return torch.ones(len(batch.rows["labelled"]))

    needs = ("steps.logp.policy", "steps.logp.reference", "rows.labelled", "rows.mismatched", "columns.label")
    return Objective((Term("kto", needs, unit, weight, couple),))


def batch() -> Batch:
    policy = torch.tensor([[1.0], [-0.4], [0.9], [-0.1]]).requires_grad_()
    steps = Steps(torch.ones(4, 1, dtype=torch.bool), {"policy": policy, "reference": torch.zeros(4, 1)})
    rows = {"labelled": torch.tensor([0, 1]), "mismatched": torch.tensor([2, 3])}
    return Batch(steps, rows=rows, columns={"label": torch.tensor([True, False, True, True])})


def test_hand_value():
    # z0 = 0.5·(0.9 − 0.1)/2 = 0.2; desirable: 1 − σ(0.5 − 0.2); undesirable: 1 − σ(0.2 + 0.2)
    expected = ((1 - torch.sigmoid(torch.tensor(0.3))) + (1 - torch.sigmoid(torch.tensor(0.4)))) / 2
    assert kto(0.5).loss(batch()).value.item() == pytest.approx(expected.item(), abs=1e-7)


def test_the_statistic_has_no_gradient_and_is_never_negative():
    b = batch()
    (gradient,) = torch.autograd.grad(kto(0.5).loss(b).value, b.steps.logp["policy"])
    assert gradient[2:].abs().max().item() == 0.0
    low = Batch(
        Steps(b.steps.mask, {"policy": b.steps.logp["policy"] - 5, "reference": torch.zeros(4, 1)}), rows=b.rows
    )
    assert kto().couple([low])["kto"]["sum"].item() < 0  # clamped in the unit, after the *global* mean (TRL #1911)


def test_a_split_changes_nothing():
    whole, objective = batch(), kto(0.5)
    parts = [whole.take(torch.tensor([0, 3])), whole.take(torch.tensor([1, 2]))]
    stats, denominators = objective.couple(parts), objective.denominators(parts)
    total = sum(objective.loss(p, denominators, stats).value for p in parts)
    assert total.item() == pytest.approx(objective.loss(whole).value.item(), abs=1e-7)
