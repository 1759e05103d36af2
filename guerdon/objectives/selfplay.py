"""Losses of self-play: regression of log-ratios onto win rates (SPPO), and soft logistic regression (DNO)."""

import torch
from torch import Tensor

from guerdon import reduce
from guerdon.batch import Batch, Pairs
from guerdon.objectives.pairwise import logistic, pairwise
from guerdon.objectives.scores import log_ratio, scaled
from guerdon.objectives.terms import Metrics, Objective, Stats, Term


def sppo(eta: float = 1000.0, log_z: str | None = None, to: str = "reference") -> Objective:
    """(ρ(y) − η·P̂(y ≻ π_t) + log Z)² a row, log Z ≈ η/2, ρ the *summed* log-ratio to π_t (Wu et al. 2024, 2405.00675,
    Algorithm 1, eq. 4.7; η = 1/β of the code).

    columns.win_rate: P̂ of every row in [0, 1]; a row where it is NaN, or without a live step, has no weight. The mean
    runs over rows, so that on the best and the worst response of every prompt it is the published
    ½[(ρ_w − η(P̂_w − ½))² + (ρ_l − η(P̂_l − ½))²]. log_z: a column with the exact log Z of every row instead of η/2; the
    minimiser is a normalised policy only then. At π = π_t and P̂ = ½ the loss is 0. Metrics: ρ and its target.
    """
    column = () if log_z is None else (f"columns.{log_z}",)

    def parts(batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """(ρ, target, live), each [N]."""
        steps = batch.read("steps")
        ratio = reduce.total(steps.logprob("policy") - steps.logprob(to).detach(), steps.mask)
        rate = _column(batch, "win_rate", ratio)
        offset = 0.5 * eta if log_z is None else _column(batch, log_z, ratio)
        return ratio, eta * rate - offset, steps.mask.any(-1) & torch.isfinite(rate)

    def unit(batch: Batch, stats: Stats) -> Tensor:
        ratio, target, live = parts(batch)
        return (ratio - torch.where(live, target, 0.0)).square()

    def weight(batch: Batch) -> Tensor:
        mask = batch.read("steps").mask
        return (mask.any(-1) & torch.isfinite(_column(batch, "win_rate", mask.float()))).float()

    def metrics(batch: Batch, stats: Stats) -> Metrics:
        ratio, target, live = parts(batch)
        count = live.sum().to(ratio)
        return {"log_ratio": (ratio[live].sum(), count), "target": (target[live].sum(), count)}

    needs = ("steps.logp.policy", f"steps.logp.{to}", "columns.win_rate", *column)
    return Objective((Term("sppo", needs, unit, weight, None, metrics),))


def sppo_hard(eta: float = 1000.0) -> Objective:
    """(ρ_w − η/2)² + (ρ_l + η/2)², SPPO with P̂ = 1 for the winner and 0 for the loser (Wu et al. 2024, 2405.00675).

    There is no ½ before the sum here, as in the authors' code and in TRL's 'sppo_hard' (η = 1/β).
    """

    def contrast(z_w: Tensor, z_l: Tensor, pairs: Pairs) -> Tensor:
        return (z_w - 0.5 * eta).square() + (z_l + 0.5 * eta).square()

    return pairwise(log_ratio(), contrast, name="sppo_hard")


def sppo_single(eta: float = 1000.0) -> Objective:
    """½[(ρ_w − η(p − ½))² + (ρ_l + η(p − ½))²], p = P(w ≻ l) of the pair itself ('sppo_single' of the authors' code of
    2405.00675); hard pairs have p = 1."""

    def contrast(z_w: Tensor, z_l: Tensor, pairs: Pairs) -> Tensor:
        aim = eta * (pairs.probability().to(z_w) - 0.5)
        return 0.5 * ((z_w - aim).square() + (z_l + aim).square())

    return pairwise(log_ratio(), contrast, name="sppo_single")


def dno(eta: float = 0.1) -> Objective:
    """−p log σ(ηh) − (1 − p) log σ(−ηh), h = ρ_w − ρ_l to π_t and p = σ(r_t(w) − r_t(l)) of win rates r_t (Rosset et
    al. 2024, 2404.03715, Algorithm 1); hard pairs give iterative DPO, as in its practical Algorithm 2.

    p comes with the pairs (``training.all_pairs``). As r_t lies in [0, 1], p lies in [0.27, 0.73]; a larger η takes
    the scale up.
    """
    return pairwise(scaled(eta, log_ratio()), logistic(), name="dno")


def _column(batch: Batch, name: str, like: Tensor) -> Tensor:
    """A column of numbers [N] as data."""
    return torch.as_tensor(batch.read(f"columns.{name}"), device=like.device).detach().to(like.dtype)
