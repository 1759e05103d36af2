"""DPO under other divergences than reverse KL: the log-ratio is read through the f′ of the divergence."""

import math
from collections.abc import Callable

from torch import Tensor

from guerdon.batch import Pairs
from guerdon.divergences import Divergence, generator
from guerdon.errors import GuerdonError
from guerdon.objectives.free import EXPONENT
from guerdon.objectives.pairwise import Contrast, Side, logistic, pairwise
from guerdon.objectives.scores import log_ratio
from guerdon.objectives.terms import Objective
from guerdon.preferences import bradley_terry


def f_dpo(beta: float = 0.1, divergence: Divergence = "js", alpha: float = 0.5, smoothing: float = 0.0) -> Objective:
    """−log σ(β f′(u_w) − β f′(u_l)), u = π/π_ref of a whole response (Wang et al. 2023, 2309.16240): the optimum
    maximises E r − β·D_f(π‖π_ref).

    divergence: 'reverse_kl' (DPO), 'forward_kl', 'js' or 'alpha' with 0 ≤ α ≤ 1, the paper's α (0 reverse, 1 forward
    KL; TRL's newer coefficient is 1 − α); ``alpha`` is read by 'alpha' alone. The paper's β: 0.1 for reverse KL, JS and
    α, 0.03 for forward KL. e^{−ρ} and e^{−αρ} are held at e^``EXPONENT``, past which there is no gradient. Raises
    GuerdonError for another divergence: where f′(0) is finite the optimum may leave responses out, and the reward is
    no longer β f′ up to a constant.
    """
    if divergence not in ("reverse_kl", "forward_kl", "js", "alpha"):
        raise GuerdonError(
            f"f_dpo needs an f′ that is −∞ at 0: 'reverse_kl', 'forward_kl', 'js' or 'alpha', but {divergence!r} came; "
            "for χ² use chi_po."
        )
    if divergence == "alpha" and not 0 <= alpha <= 1:
        raise GuerdonError(f"f_dpo(alpha=…) must lie in [0, 1], but {alpha} came.")
    of = generator(divergence, alpha if divergence == "alpha" else None)
    rate = {"forward_kl": 1.0, "alpha": alpha}.get(divergence, 0.0)
    lowest = -EXPONENT / rate if rate > 0 else -math.inf
    return pairwise(log_ratio(), logistic(smoothing=smoothing), link(beta, of.f_prime, lowest), name="f_dpo")


def link(beta: float, f_prime: Callable[[Tensor], Tensor], lowest: float = -math.inf) -> Side:
    """ρ -> β·f′ at max(ρ, lowest): the reward that is implicit in a log-ratio under D_f."""
    return lambda rho, sign: beta * f_prime(rho.clamp(min=lowest))


def chi_po(
    beta: float = 0.05, reward_range: float = math.inf, highest: float = 20.0, smoothing: float = 0.0
) -> Objective:
    """−log σ(clip(β φ(u_w) − β φ(u_l), ±2R)) with φ(u) = u + log u: KL and χ² together (Huang et al. 2024, 2407.13399,
    algorithm 1).

    φ is the sum of the f′ of reverse KL and of half χ², up to a constant. It punishes what the reference hardly covers
    linearly in u, not in log u, which is pessimism about what the data do not show. reward_range: R, the largest
    reward, where it is known; past 2R a pair has no gradient, and the default clips nothing. highest: log u inside the
    exponential is held at it, as in the authors' experiments.
    """
    kl, chi2 = generator("reverse_kl"), generator("chi2")

    def phi(rho: Tensor) -> Tensor:
        return kl.f_prime(rho) + chi2.f_prime(rho.clamp(max=highest)) / 2

    return pairwise(log_ratio(), clipped_gap(2 * reward_range, smoothing), link(beta, phi), name="chi_po")


def clipped_gap(bound: float, smoothing: float = 0.0) -> Contrast:
    """−log σ(clip(z_w − z_l, ±bound) − pairs.margin), soft where the pairs are."""

    def contrast(z_w: Tensor, z_l: Tensor, pairs: Pairs) -> Tensor:
        gap = (z_w - z_l).clamp(-bound, bound)
        margin = pairs.margins().to(gap)
        return bradley_terry(
            gap, gap.new_zeros(()), preferred=pairs.probability().to(gap), margin=margin, smoothing=smoothing
        )

    return contrast
