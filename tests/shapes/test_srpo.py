"""SRPO (card 149): six rows a pair, aligned by position, one model."""

import pytest
import torch

from guerdon import reduce
from guerdon.batch import Batch, Steps
from guerdon.objectives import Objective, Term

ROWS = ("w", "l", "w|l", "l|l", "w|w", "l|w")


def srpo(beta: float = 0.1, alpha: float = 0.5) -> Objective:
    needs = ("steps.logp.policy", "steps.logp.reference", *(f"rows.{r}" for r in ROWS))

    def rho(batch: Batch) -> dict[str, torch.Tensor]:
        total = reduce.total(batch.steps.log_ratio(), batch.steps.mask)
        return {name: total[batch.rows[name]] for name in ROWS}

    def improver(batch: Batch, stats) -> torch.Tensor:
        r = rho(batch)
        return (0.5 - beta * (r["w|l"] - r["l|l"])).square() + (0.5 - beta * (r["w|w"] - r["l|w"])).square()

    def generator(batch: Batch, stats) -> torch.Tensor:
        r = rho(batch)
        return (0.5 - beta / 2 * (r["w|l"] - r["l|w"] + r["w"] - r["l"])).square()

    def weight(batch: Batch) -> torch.Tensor:
        return torch.ones(len(batch.rows["w"]))

    return Objective(
        (
            Term("generator", needs, generator, weight, coefficient=1 - alpha),
            Term("improver", needs, improver, weight, coefficient=alpha),
        )
    )


def batch(values: dict[str, float]) -> Batch:
    policy = torch.tensor([[values.get(name, 0.0)] for name in ROWS]).requires_grad_()
    steps = Steps(torch.ones(6, 1, dtype=torch.bool), {"policy": policy, "reference": torch.zeros(6, 1)})
    return Batch(
        steps, rows={n: torch.tensor([i]) for i, n in enumerate(ROWS)}, block=torch.zeros(6, dtype=torch.int64)
    )


def test_all_zero_ratios():
    loss = srpo(alpha=0.5).loss(batch({}))
    assert loss.parts["improver"].item() == pytest.approx(0.5 * 0.5, abs=1e-7)
    assert loss.parts["generator"].item() == pytest.approx(0.5 * 0.25, abs=1e-7)


def test_card_values():
    loss = srpo(0.5, 0.5).loss(batch({"w|l": 0.6, "l|l": -0.2, "l|w": -0.1, "w": 0.4, "l": -0.2}))
    assert loss.parts["generator"].item() == pytest.approx(0.5 * 0.030625, abs=1e-7)
    # first improver term 0.01 (card), second (½ − ½(0 + 0.1))² = 0.2025
    assert loss.parts["improver"].item() == pytest.approx(0.5 * (0.01 + 0.2025), abs=1e-7)


def test_a_split_keeps_the_six_together():
    whole = batch({"w": 0.4})
    assert [len(part) for part in whole.split(3)] == [6]
