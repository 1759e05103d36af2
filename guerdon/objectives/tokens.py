"""Losses of pairs that weigh the steps of a row: by a guide's opinion of them (TGDPO), or by whether the partner has a
step there too (LD-DPO)."""

import torch
from torch import Tensor

from guerdon import reduce
from guerdon.batch import Batch, Pairs
from guerdon.objectives.pairwise import logistic, pairwise
from guerdon.objectives.scores import Score, scaled, weighted_log_ratio
from guerdon.objectives.terms import Objective


def guided_log_ratio(
    strength: float = 0.05, clamp: bool = False, guide: str = "guide", of: str = "policy", to: str = "reference"
) -> Score:
    """Σ_t w_t·(log π_of − log π_to) with w_t = 1 ± strength·(log π_guide − log π_to), + for winners and − for losers.

    A winner's steps that the guide likes may move further from the reference, and so may a loser's that it dislikes. A
    weight is negative where strength times the guide's log-ratio exceeds 1; ``clamp`` holds it at 0 there. Weights
    carry no gradient.
    """

    def weights(batch: Batch, sign: int) -> Tensor:
        weight = 1 + sign * strength * batch.read("steps").log_ratio(guide, to)
        return weight.clamp(min=0.0) if clamp else weight

    return weighted_log_ratio(weights, (f"steps.logp.{guide}",), of, to)


def tgdpo(beta: float = 0.1, alpha: float = 0.5, clamp: bool = False) -> Objective:
    """−log σ(β Σ_t (1 + αβg_t) ρ_t on the winner − β Σ_t (1 − αβg_t) ρ_t on the loser), ρ_t the log-ratio of one step,
    g_t = log π_guide − log π_ref (Zhu et al. 2025, 2506.14574; the loss as its released code has it).

    guide: a policy that was aligned before from the same reference (DPO's or SimPO's). α = 0, or a guide that is the
    reference, is DPO. Unlike DPO's, this score is moved by a constant added to all g_t of a row. clamp: weights below
    0, where |αβg_t| > 1, become 0 (not in the paper).
    """
    return pairwise(scaled(beta, guided_log_ratio(alpha * beta, clamp)), logistic(), name="tgdpo")


def desensitised_log_ratio(alpha: float = 0.5, of: str = "policy", to: str = "reference") -> Score:
    """Σ_t ρ_t over the first n steps of a row plus α·Σ_t ρ_t over the rest, n the steps of its pair's shorter side.

    Steps are counted along the mask, so that padding and gaps (tool output) do not matter; the end of the sequence
    counts like any step, and that of the longer side is among the rest. One mask serves policy and reference.
    """

    def call(batch: Batch, pairs: Pairs, sign: int) -> Tensor:
        steps, rows = batch.read("steps"), pairs.rows(sign)
        length = reduce.lengths(steps.mask)
        shared = torch.minimum(length[pairs.winner], length[pairs.loser])
        ratio = (steps.logprob(of) - steps.logprob(to).detach())[rows]
        mask = steps.mask[rows]
        beyond = mask.cumsum(-1) > shared.unsqueeze(-1)
        return reduce.total(torch.where(beyond, alpha * ratio, ratio), mask)

    return Score("desensitised_log_ratio", call, (f"steps.logp.{of}", f"steps.logp.{to}"))


def ld_dpo(beta: float = 0.1, alpha: float = 0.5) -> Objective:
    """−log σ(β(ρ̂_w − ρ̂_l)), ρ̂ a summed log-ratio in which steps beyond the pair's shared length count α (Liu et al.
    2024, 2409.06411, eq. 8-12).

    α = 1 is DPO, α = 0 reads the shared length alone; the paper's best α lies between, and is smaller for more verbose
    data.
    """
    return pairwise(scaled(beta, desensitised_log_ratio(alpha)), logistic(), name="ld_dpo")
