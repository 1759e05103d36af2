"""Regression of value heads on returns."""

import torch
from torch import Tensor

from guerdon.batch import Batch
from guerdon.objectives.reductions import Reduction, token_mean
from guerdon.objectives.terms import Objective, Stats, Term


def value_loss(channel: str = "total", clip: float | None = None, reduction: Reduction | None = None) -> Objective:
    """½(V_t − G_t)² for the value head and the returns called ``channel``.

    clip: PPO's value clipping, the larger of the plain and the clipped error, around the values at sampling time (stats
    'old_value:<channel>').
    """
    cut = reduction or token_mean()

    def unit(batch: Batch, stats: Stats) -> Tensor:
        steps = batch.read("steps")
        value, target = steps.stat(f"value:{channel}"), batch.returns[channel].detach()
        target = torch.where(steps.mask, target, torch.zeros_like(target))
        error = (value - target).square()
        if clip is not None:
            before = steps.stat(f"old_value:{channel}").detach()
            error = torch.maximum(error, (before + (value - before).clamp(-clip, clip) - target).square())
        return cut.units(0.5 * error, steps.mask)

    needs: tuple[str, ...] = (f"steps.stats.value:{channel}", f"returns.{channel}")
    if clip is not None:
        needs = (*needs, f"steps.stats.old_value:{channel}")
    return Objective((Term("value", needs, unit, lambda b: cut.weight(b.read("steps").mask)),))
