"""DPO with another strength on the rejected side: DPO-Shift and Flex-DPO, which are one function."""

from torch import Tensor

from guerdon.objectives.pairwise import Side, logistic, pairwise
from guerdon.objectives.scores import log_ratio
from guerdon.objectives.terms import Objective


def strengths(chosen: float, rejected: float) -> Side:
    """A side that multiplies z by one factor for winners and by another for losers."""

    def side(z: Tensor, sign: int) -> Tensor:
        return (chosen if sign > 0 else rejected) * z

    return side


def flex_dpo(chosen: float = 0.1, rejected: float = 0.08, smoothing: float = 0.0) -> Objective:
    """−log σ(β⁺ρ_w − β⁻ρ_l), β⁻ < β⁺ (Yan et al. 2024, 2406.07327, Flex-DPO).

    ``chosen`` is β⁺ and ``rejected`` β⁻, both constant through a run. With β⁻ → 0 it becomes a one-sided loss like SFT.
    With unequal factors a constant of the prompt no longer cancels: the reference counts, not only its ratio.
    """
    return pairwise(log_ratio(), logistic(smoothing=smoothing), strengths(chosen, rejected), name="dpo")


def dpo_shift(beta: float = 0.01, shift: float = 0.95, smoothing: float = 0.0) -> Objective:
    """−log σ(βρ_w − f·βρ_l), f in (0, 1] (Yang et al. 2025, 2502.07599).

    ``shift`` is f; it multiplies the rejected log-ratio, so the reference's part too. To first order in a step the mean
    log π(y_w) gains, and the margin loses, in proportion to 1 − f (their theorem 2.1; ``audit.shift_terms``).
    """
    return flex_dpo(beta, shift * beta, smoothing)
