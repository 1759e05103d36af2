"""SRPO (card 149): six rows a pair, aligned by position, one model."""

import pytest
import torch

from guerdon.batch import Batch, Lists, Steps
from guerdon.objectives import srpo
from guerdon.objectives.srpo import ROLES


def batch(values: dict[str, float], value: torch.Tensor | None = None) -> Batch:
    policy = torch.tensor([[values.get(name, 0.0)] for name in ROLES]).requires_grad_()
    steps = Steps(torch.ones(6, 1, dtype=torch.bool), {"policy": policy, "reference": torch.zeros(6, 1)})
    return Batch(steps, lists=Lists(torch.arange(6)[None], value))


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
