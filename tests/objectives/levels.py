"""Batches whose log-ratios are given: rows of one live step each."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from guerdon.batch import Batch, Pairs, Steps
from guerdon.objectives import Objective


def of_pairs(won: Sequence[float], lost: Sequence[float], base: Sequence[float] | None = None, **more: Tensor) -> Batch:
    """Pairs with these log-ratios to the reference, winners first; base: the reference's log-probs of all rows."""
    ratio = torch.tensor([*won, *lost], dtype=torch.float64)[:, None]
    reference = torch.full_like(ratio, -1.5) if base is None else torch.tensor(base, dtype=torch.float64)[:, None]
    count = len(won)
    pairs = Pairs(torch.arange(count), torch.arange(count, 2 * count), **more)
    logp = {"policy": (reference + ratio).requires_grad_(), "reference": reference}
    return Batch(Steps(torch.ones(2 * count, 1, dtype=torch.bool), logp), pairs=pairs)


def t1(**more: Tensor) -> Batch:
    """The cards' toy pair: log π = −1 and −2, log π_ref = −1.5 both, so that ρ = ±½ and h = 1."""
    return of_pairs([0.5], [-0.5], **more)


def value(objective: Objective, batch: Batch) -> float:
    return float(objective.loss(batch).value.detach())


def slopes(objective: Objective, batch: Batch) -> list[float]:
    """Gradient with respect to every row's log π."""
    (found,) = torch.autograd.grad(objective.loss(batch).value, batch.read("steps.logp.policy"))
    return found[:, 0].tolist()
