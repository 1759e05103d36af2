"""Losses of the difference between the two sides: GPO's convex links, label noise, DiscoPOP, EXO, and SLiC.

The difference is β times that of the log-ratios to the reference, z = β(ρ_w − ρ_l), but in ``slic``, which has none.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, relu

from guerdon.batch import Pairs
from guerdon.errors import GuerdonError
from guerdon.objectives.expectation import expectation
from guerdon.objectives.free import total_logprob
from guerdon.objectives.pairwise import Contrast, pairwise
from guerdon.objectives.scores import log_ratio, scaled
from guerdon.objectives.terms import Objective
from guerdon.preferences import bradley_terry

Link = Callable[[Tensor], Tensor]
"""z [P] -> loss [P], elementwise; convex and falling at 0 in GPO's family."""


def of_difference(link: Link) -> Contrast:
    """p·f(z) + (1 − p)·f(−z) with z = z_w − z_l − pairs.margin and p = pairs.preferred: any margin loss f as a contrast
    (GPO's family, Tang et al. 2024, 2402.05749).

    A side that has no probability is not evaluated, so that an f that overflows there does no harm.
    """

    def share(z: Tensor, p: Tensor) -> Tensor:
        return p * link(torch.where(p > 0, z, torch.zeros_like(z)))

    def contrast(z_w: Tensor, z_l: Tensor, pairs: Pairs) -> Tensor:
        gap, p = _gap(z_w, z_l, pairs)
        return share(gap, p) + share(-gap, 1 - p)

    return contrast


def hinge_dpo(beta: float = 0.1, margin: float = 1.0) -> Objective:
    """max(0, margin − β(ρ_w − ρ_l)): SLiC's hinge on log-ratios (Zhao et al. 2023, 2305.10425, as normalised by Liu et
    al. 2023, 2309.06657)."""
    return pairwise(scaled(beta, log_ratio()), of_difference(lambda z: relu(margin - z)), name="hinge_dpo")


def squared_hinge_dpo(beta: float = 0.1) -> Objective:
    """max(0, 1 − β(ρ_w − ρ_l))²: the truncated quadratic link (Tang et al. 2024, 2402.05749)."""
    return pairwise(scaled(beta, log_ratio()), of_difference(lambda z: relu(1 - z).square()), name="squared_hinge_dpo")


def exp_dpo(beta: float = 0.1) -> Objective:
    """exp(−β(ρ_w − ρ_l)): the exponential link (Tang et al. 2024, 2402.05749). It leaves float32 where a pair is wrong
    by more than 88/β nats; the loop then says that the loss is not finite."""
    return pairwise(scaled(beta, log_ratio()), of_difference(lambda z: torch.exp(-z)), name="exp_dpo")


def discopop(beta: float = 0.05, tau: float = 0.05) -> Objective:
    """(1 − m)·(−log σ(z)) + m·exp(−z) with m = σ(z/τ), z = β(ρ_w − ρ_l): the log-ratio modulated loss (Lu et al. 2024,
    2406.08414, eq. 5).

    m is differentiated, as in the authors' code. m·exp(−z) is exp(log m − z), which stays finite for τ < 1 where the
    product would be 0·∞. Not convex: at τ = 0.05 it rises from z = −0.12 to 0.07, so that pairs which start at the
    reference (z = 0) first fall back.
    """
    if not 0 < tau < 1:
        raise GuerdonError(f"discopop(tau=…) must lie in (0, 1), but {tau} came: exp(−z) is unbounded otherwise.")

    def link(z: Tensor) -> Tensor:
        return torch.sigmoid(-z / tau) * -logsigmoid(z) + torch.exp(logsigmoid(z / tau) - z)

    return pairwise(scaled(beta, log_ratio()), of_difference(link), name="discopop")


def robust_dpo(beta: float = 0.1, flip: float = 0.1) -> Objective:
    """[−(1−ε) log σ(z) + ε log σ(−z)] / (1 − 2ε), z = β(ρ_w − ρ_l): over labels flipped with probability ε = ``flip``
    in [0, ½) its expectation is DPO's loss on the clean ones (rDPO, Chowdhury et al. 2024, 2403.00409).

    It is DPO with the label (p − ε)/(1 − 2ε), above 1 where the label is certain: a single pair's loss falls without
    bound as its margin grows. Raises GuerdonError for another ``flip``.
    """
    if not 0 <= flip < 0.5:
        raise GuerdonError(f"robust_dpo(flip=…) is the probability of a flipped label, in [0, 0.5), but {flip} came.")

    def contrast(z_w: Tensor, z_l: Tensor, pairs: Pairs) -> Tensor:
        clean = (pairs.probability().to(z_w) - flip) / (1 - 2 * flip)
        return bradley_terry(z_w, z_l, preferred=clean, margin=pairs.margins().to(z_w))

    return pairwise(scaled(beta, log_ratio()), contrast, name="robust_dpo")


def exo(beta: float = 0.1, epsilon: float = 1e-3) -> Objective:
    """KL(q ‖ p) of the pair: q(log q − log(1−ε)) + (1−q)(log(1−q) − log ε), q = σ(β(ρ_w − ρ_l)) (EXO-pref, Ji et al.
    2024, 2402.00856, eq. 16).

    The target is (1−ε, ε) where the label is hard and p(1−2ε) + ε where pairs are soft; ε in (0, ½), as a hard target
    has infinite divergence. Raises GuerdonError for another ε.
    """
    if not 0 < epsilon < 0.5:
        raise GuerdonError(
            f"exo(epsilon=…) must lie in (0, 0.5), but {epsilon} came: a certain target's KL is infinite."
        )

    def contrast(z_w: Tensor, z_l: Tensor, pairs: Pairs) -> Tensor:
        gap, p = _gap(z_w, z_l, pairs)
        won, lost = ((1 - 2 * epsilon) * x + epsilon for x in (p, 1 - p))  # 1 − won would lose ε's digits
        first = torch.sigmoid(gap) * (logsigmoid(gap) - won.log())
        return first + torch.sigmoid(-gap) * (logsigmoid(-gap) - lost.log())

    return pairwise(scaled(beta, log_ratio()), contrast, name="exo")


def slic(margin: float = 1.0, weight: float = 0.5) -> Objective:
    """max(0, δ − log π(y_w) + log π(y_l)) − λ log π(y_w), δ = ``margin`` nats and λ = ``weight``; no reference
    (SLiC-HF as published, Zhao et al. 2023, 2305.10425).

    The regulariser takes the winner for the target y_ref, all that pairs offer; another target is
    ``slic(weight=0.0) + 0.5 * expectation(-1.0, rows)``. Log-probs are summed over tokens, so δ is a gap a response.
    """
    contrast = of_difference(lambda z: relu(margin - z))
    return pairwise(total_logprob(), contrast, name="slic") + weight * expectation(-1.0, "winner", name="slic_target")


def _gap(z_w: Tensor, z_l: Tensor, pairs: Pairs) -> tuple[Tensor, Tensor]:
    """(z_w − z_l − margin, P(winner ≻ loser)), [P] each."""
    gap = z_w - z_l - pairs.margins().to(z_w)
    return gap, pairs.probability().to(gap)
