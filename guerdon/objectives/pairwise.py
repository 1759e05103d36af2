"""The DPO family and reward-model training alike: a score for each side, and a contrast between them."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import relu

from guerdon.batch import Batch, Pairs
from guerdon.objectives.scores import Score, head, log_ratio, mean_log_ratio, mean_logprob, scaled
from guerdon.objectives.terms import Metrics, Objective, Stats, Term
from guerdon.preferences import bradley_terry

Contrast = Callable[[Tensor, Tensor, Pairs], Tensor]
"""(z_w [P], z_l [P], pairs) -> loss [P]."""

Side = Callable[[Tensor, int], Tensor]
"""(z [P], sign) -> z [P]: what is done to one side alone, f-DPO's f′ or ORPO's odds."""


def pairwise(
    score: Score,
    contrast: Contrast,
    side: Side | None = None,
    weight: Callable[[Batch, Pairs], Tensor] | None = None,
    name: str = "pairwise",
    needs: tuple[str, ...] = (),
) -> Objective:
    """One loss per pair: contrast(side(score(winner)), side(score(loser))) × sg(weight).

    score: see ``scores``. contrast: a link of a difference, or a sum over sides (NCA, BCO, APO-zero, SPPO). weight:
    (batch, pairs) -> [P], detached here; it scales the loss and does not enter the denominator, which is Σ pairs.weight
    over the whole batch. Metrics are means over pairs of chosen, rejected, margin and accuracy (a tie counts ½).
    """

    def sides(batch: Batch) -> tuple[Pairs, Tensor, Tensor]:
        pairs = batch.read("pairs")
        z_w, z_l = score(batch, pairs, 1), score(batch, pairs, -1)
        return pairs, (z_w if side is None else side(z_w, 1)), (z_l if side is None else side(z_l, -1))

    def unit(batch: Batch, stats: Stats) -> Tensor:
        pairs, z_w, z_l = sides(batch)
        loss = contrast(z_w, z_l, pairs)
        return loss if weight is None else loss * weight(batch, pairs).detach()

    def metrics(batch: Batch, stats: Stats) -> Metrics:
        pairs, z_w, z_l = sides(batch)
        count = torch.tensor(float(len(pairs)), device=z_w.device)
        correct = (z_w > z_l).float() + 0.5 * (z_w == z_l).float()
        values = {"chosen": z_w, "rejected": z_l, "margin": z_w - z_l, "accuracy": correct}
        return {key: (x.sum(), count) for key, x in values.items()}

    return Objective(
        (Term(name, ("pairs", *score.needs, *needs), unit, lambda b: b.read("pairs").weights(), None, metrics),)
    )


def logistic(margin: float = 0.0, smoothing: float = 0.0) -> Contrast:
    """−log σ(z_w − z_l − margin − pairs.margin), soft where the pairs are; ``smoothing`` ε mixes in the flipped label
    (cDPO)."""

    def contrast(z_w: Tensor, z_l: Tensor, pairs: Pairs) -> Tensor:
        return bradley_terry(
            z_w,
            z_l,
            preferred=pairs.probability().to(z_w),
            margin=margin + pairs.margins().to(z_w),
            smoothing=smoothing,
        )

    return contrast


def hinge(margin: float = 1.0) -> Contrast:
    """max(0, margin − (z_w − z_l)) (SLiC on log-ratios)."""
    return lambda z_w, z_l, pairs: relu(margin - (z_w - z_l))


def squared(target: float) -> Contrast:
    """(z_w − z_l − target)² (IPO)."""
    return lambda z_w, z_l, pairs: (z_w - z_l - target).square()


def dpo(beta: float = 0.1, smoothing: float = 0.0) -> Objective:
    """−log σ(β(ρ_w − ρ_l)), ρ the summed log-ratio to the reference (Rafailov et al. 2023, 2305.18290, eq. 7).

    ``smoothing`` ε gives −(1−ε) log σ(βh) − ε log σ(−βh) (cDPO). Pairs with margins subtract them (ODPO).
    """
    return pairwise(scaled(beta, log_ratio()), logistic(smoothing=smoothing), name="dpo")


def ipo_sum(tau: float = 0.1) -> Objective:
    """(h − 1/(2τ))², h the difference of *summed* log-ratios: the target gap is per response (Azar et al. 2023,
    2310.12036, eq. 17)."""
    return pairwise(log_ratio(), squared(1 / (2 * tau)), name="ipo_sum")


def ipo_mean(tau: float = 0.1) -> Objective:
    """(h − 1/(2τ))² with log-ratios *averaged over tokens*: the target gap is per token, another objective than
    ``ipo_sum``."""
    return pairwise(mean_log_ratio(), squared(1 / (2 * tau)), name="ipo_mean")


def simpo(beta: float = 2.0, gamma: float = 1.0, smoothing: float = 0.0) -> Objective:
    """−log σ(β·avg_w − β·avg_l − γ), avg the mean token log-prob; no reference (Meng et al. 2024, 2405.14734, eq. 6).

    γ is in reward units (γ/β in nats a token); the paper tunes γ/β from 0.5.
    """
    return pairwise(scaled(beta, mean_logprob()), logistic(margin=gamma, smoothing=smoothing), name="simpo")


def bradley_terry_loss(name: str = "reward", smoothing: float = 0.0) -> Objective:
    """Reward-model training: −log σ(r_w − r_l − margin) on the scalar head ``name``."""
    return pairwise(head(name), logistic(smoothing=smoothing), name="bradley_terry")
