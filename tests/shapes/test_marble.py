"""MARBLE (card 1): the same combination object at stage *gradient*, over flat gradients [K,D]."""

import math

import pytest
import torch

from guerdon.batch import Batch, Steps
from guerdon.objectives import reinforce
from guerdon.shaping import minimum_norm


def combined_gradient(batch: Batch, names: tuple[str, ...], parameters: list[torch.Tensor]) -> torch.Tensor:
    """One policy gradient a reward, combined by the minimum-norm point of the unit gradients, at their mean length:
    [D]."""
    rows = []
    for name in names:
        found = torch.autograd.grad(reinforce(name).loss(batch).value, parameters, retain_graph=True)
        rows.append(torch.cat([g.reshape(-1) for g in found]))
    gradients = torch.stack(rows)
    return minimum_norm()(names, gradients, torch.ones_like(gradients, dtype=torch.bool), {})[0]


def at(*angles: float) -> torch.Tensor:
    return torch.tensor([[math.cos(a), math.sin(a)] for a in angles], dtype=torch.float64)


def mix(gradients: torch.Tensor) -> torch.Tensor:
    names = tuple(f"reward/{i}" for i in range(len(gradients)))
    return minimum_norm()(names, gradients, torch.ones_like(gradients, dtype=torch.bool), {})[0]


def test_card_values():
    assert mix(at(0.0, 1.0, 2.0)).square().sum().item() == pytest.approx(0.2919, abs=5e-5)
    assert torch.allclose(mix(at(0.0, 1.0, 2.0)), (at(0.0) + at(2.0))[0] / 2, atol=1e-9)  # α = (½, 0, ½)
    repeated = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
    assert torch.allclose(mix(repeated), torch.tensor([0.5, 0.5], dtype=torch.float64), atol=1e-9)  # α_3 = ½


def test_every_loss_falls_to_first_order():
    gradients = torch.randn(4, 9, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    direction = mix(gradients)
    assert bool((gradients @ direction > -1e-9).all())


def test_on_a_policy():
    logits = torch.zeros(1, 3, requires_grad=True)
    mask = torch.ones(2, 1, dtype=torch.bool)
    logp = torch.log_softmax(logits, -1)[0, [0, 1]][:, None]
    gains = {"a": torch.tensor([[1.0], [0.0]]), "b": torch.tensor([[0.0], [1000.0]])}
    found = combined_gradient(Batch(Steps(mask, {"policy": logp}), advantages=gains), ("a", "b"), [logits])
    assert found[0].item() == pytest.approx(found[1].item(), rel=1e-4)  # a thousandfold scale does not tilt it
