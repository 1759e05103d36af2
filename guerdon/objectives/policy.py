"""Losses that read advantages [N,T]: REINFORCE, the clipped surrogate, and the per-step regularisers beside them."""

import math

import torch
from torch import Tensor

from guerdon import divergences
from guerdon.batch import Batch
from guerdon.errors import GuerdonError
from guerdon.objectives.reductions import Reduction, token_mean
from guerdon.objectives.terms import Metrics, Objective, Stats, Term


def reinforce(advantage: str = "total", reduction: Reduction | None = None) -> Objective:
    """−A_t log π(a_t|s_t): the score-function estimator, one gradient step a batch (Williams 1992)."""
    cut = reduction or token_mean()

    def unit(batch: Batch, stats: Stats) -> Tensor:
        steps = batch.read("steps")
        return cut.units(-batch.advantages[advantage].detach() * steps.logprob("policy"), steps.mask)

    needs = ("steps.logp.policy", f"advantages.{advantage}")
    return Objective((Term("reinforce", needs, unit, lambda b: cut.weight(b.read("steps").mask)),))


def clipped(
    low: float = 0.2,
    high: float | None = None,
    dual: float | None = None,
    advantage: str = "total",
    level: str = "token",
    old: str = "old",
    reduction: Reduction | None = None,
) -> Objective:
    """−min(ρA, clip(ρ, 1−low, 1+high)·A), ρ = π/π_old (Schulman et al. 2017, 1707.06347, eq. 7).

    high: upper range, ``low`` if None (DAPO's clip-higher sets them apart). dual: for A < 0 the loss is at most
    dual·|A| (dual-clip PPO), dual > 1. level: 'token', or 'sequence' for the geometric-mean ratio of a row (GSPO),
    whose gradient flows through the mean log-ratio. At the first step ρ is exactly 1 and the gradient is REINFORCE's.
    """
    if level not in ("token", "sequence"):
        raise GuerdonError(f"clipped(level=…) must be 'token' or 'sequence', but {level!r} came.")
    if dual is not None and dual <= 1:
        raise GuerdonError(f"clipped(dual=…) must exceed 1, but {dual} came.")
    cut, up = reduction or token_mean(), low if high is None else high

    def log_ratio(batch: Batch) -> Tensor:
        steps = batch.read("steps")
        ratio = steps.logprob("policy") - steps.logprob(old).detach()
        if level == "token":
            return ratio
        length = steps.mask.sum(-1, keepdim=True).clamp(min=1)
        return (ratio.sum(-1, keepdim=True) / length).expand_as(ratio)

    def unit(batch: Batch, stats: Stats) -> Tensor:
        gain = batch.advantages[advantage].detach()
        gain = torch.where(batch.read("steps").mask, gain, torch.zeros_like(gain))
        # Above this log-ratio the surrogate is constant; exp would overflow there and its gradient be 0 times infinity.
        flat = torch.where(gain >= 0, math.log1p(up), math.inf if dual is None else math.log(dual))
        ratio = torch.minimum(log_ratio(batch), flat + 1).exp()
        surrogate = torch.minimum(ratio * gain, ratio.clamp(1 - low, 1 + up) * gain)
        if dual is not None:
            surrogate = torch.where(gain < 0, torch.maximum(surrogate, dual * gain), surrogate)
        return cut.units(-surrogate, batch.read("steps").mask)

    def metrics(batch: Batch, stats: Stats) -> Metrics:
        mask, ratio, gain = batch.read("steps").mask, log_ratio(batch), batch.advantages[advantage]
        outside = ((ratio.exp() > 1 + up) & (gain > 0)) | ((ratio.exp() < 1 - low) & (gain < 0))
        count = mask.sum().float()
        k3 = divergences.kl_estimate(torch.where(mask, -ratio, torch.zeros_like(ratio)), "k3", gradient="none")
        return {"clip_fraction": ((outside & mask).sum().float(), count), "kl_old": (k3.sum(), count)}

    needs = ("steps.logp.policy", f"steps.logp.{old}", f"advantages.{advantage}")
    return Objective((Term("clipped", needs, unit, lambda b: cut.weight(b.read("steps").mask), None, metrics),))


def kl_penalty(
    estimator: str = "k3",
    to: str = "reference",
    gradient: divergences.EstimatorGradient = "pathwise",
    reduction: Reduction | None = None,
) -> Objective:
    """Per-step KL(π‖π_to) in the loss; multiply by its coefficient: ``clipped() + 0.04 * kl_penalty()``.

    estimator: 'k1', 'k2', 'k3' on the sampled steps, or 'full' for the exact full-vocabulary KL (stats 'kl:<to>').
    gradient: what is differentiated ('pathwise', 'k2', 'score'); which KL each of them descends stands in
    ``divergences.kl_estimate``. The default, k3 with its pathwise gradient, is what GRPO releases use: in expectation
    it descends the *forward* KL.
    """
    cut = reduction or token_mean()

    def unit(batch: Batch, stats: Stats) -> Tensor:
        steps = batch.read("steps")
        if estimator == "full":
            return cut.units(steps.stat(f"kl:{to}"), steps.mask)
        ratio = steps.logprob("policy") - steps.logprob(to).detach()
        return cut.units(divergences.kl_estimate(ratio, estimator, gradient=gradient), steps.mask)  # type: ignore[arg-type]

    needs = (f"steps.stats.kl:{to}",) if estimator == "full" else ("steps.logp.policy", f"steps.logp.{to}")
    return Objective((Term("kl", needs, unit, lambda b: cut.weight(b.read("steps").mask)),))


def entropy_bonus(reduction: Reduction | None = None) -> Objective:
    """−H(π(·|s_t)): multiply by a positive coefficient to keep the policy stochastic."""
    cut = reduction or token_mean()

    def unit(batch: Batch, stats: Stats) -> Tensor:
        steps = batch.read("steps")
        return cut.units(-steps.stat("entropy"), steps.mask)

    return Objective((Term("entropy", ("steps.stats.entropy",), unit, lambda b: cut.weight(b.read("steps").mask)),))
