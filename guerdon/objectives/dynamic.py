"""A β that follows the batch: large margins are easy pairs, which may pull less far from the reference (β-DPO)."""

import torch
from torch import Tensor

from guerdon.batch import Batch
from guerdon.errors import GuerdonError
from guerdon.objectives.pairwise import logistic
from guerdon.objectives.scores import log_ratio
from guerdon.objectives.terms import Metrics, Objective, Stats, Term

GAP = "beta_dpo/gap"
"""The metric that the running mean is kept of: the batch's mean margin β₀h."""


def beta_dpo(
    beta: float = 0.1,
    alpha: float = 0.6,
    momentum: float = 0.9,
    least: float = 1e-3,
    smoothing: float = 0.0,
    running: str = "running:gap",
) -> Objective:
    """−log σ(β_b h) with β_b = max(least, β₀(1 + α(M − M₀))), M the batch's mean of β₀h and M₀ its running mean (Wu et
    al. 2024, 2407.08639).

    M is taken over the whole batch, over micro-batches and ranks, before any loss, and β_b carries no gradient. M₀ is
    momentum·(M₀ before this batch) + (1 − momentum)·M, so M − M₀ is momentum·(M − M₀ before). What it was before comes
    as the statistic ``running``, which ``training.RunningMean(GAP, momentum)`` keeps through checkpoints, once a round:
    exact where a round is one update, and the mean of the round's updates otherwise. The paper's filter of outlying
    pairs is left out, and M is in units of β₀h as in the paper (the authors' code takes h itself).
    """
    if not 0 <= momentum < 1:
        raise GuerdonError(f"beta_dpo(momentum=…) must lie in [0, 1), but {momentum} came.")
    ratio, contrast = log_ratio(), logistic(smoothing=smoothing)

    def sides(batch: Batch) -> tuple[Tensor, Tensor]:
        pairs = batch.read("pairs")
        return ratio(batch, pairs, 1), ratio(batch, pairs, -1)

    def couple(batch: Batch) -> Stats:
        rho_w, rho_l = sides(batch)
        weight = batch.read("pairs").weights().to(rho_w)
        steps = batch.read("steps")
        before = steps.stat(running).sum().to(rho_w)
        return {
            "gap": (weight * beta * (rho_w - rho_l)).sum(),
            "pairs": weight.sum(),
            "before": before,
            "steps": steps.mask.sum().to(rho_w),
        }

    def followed(stats: Stats) -> Tensor:
        gap = stats["gap"] / stats["pairs"].clamp(min=torch.finfo(stats["gap"].dtype).tiny)
        before = stats["before"] / stats["steps"].clamp(min=1)
        return (beta * (1 + alpha * momentum * (gap - before))).clamp(min=least).detach()

    def unit(batch: Batch, stats: Stats) -> Tensor:
        rho_w, rho_l = sides(batch)
        now = followed(stats)
        return contrast(now * rho_w, now * rho_l, batch.read("pairs"))

    def metrics(batch: Batch, stats: Stats) -> Metrics:
        z_w, z_l = (beta * rho for rho in sides(batch))
        weight = batch.read("pairs").weights().to(z_w)
        count, one = torch.full_like(weight.sum(), len(z_w)), torch.ones_like(weight.sum())
        correct = (z_w > z_l).to(z_w) + 0.5 * (z_w == z_l).to(z_w)
        values = {"chosen": z_w, "rejected": z_l, "margin": z_w - z_l, "accuracy": correct}
        found = {key: (x.sum(), count) for key, x in values.items()}
        return {**found, "gap": ((weight * (z_w - z_l)).sum(), weight.sum()), "beta": (followed(stats), one)}

    needs = ("pairs", *ratio.needs, f"steps.stats.{running}")
    return Objective((Term("beta_dpo", needs, unit, lambda b: b.read("pairs").weights(), couple, metrics),))
