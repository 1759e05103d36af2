"""By how much a response is better, as a margin asked of the policy (ODPO)."""

import torch
from torch import Tensor

from guerdon.batch import Batch, Pairs
from guerdon.errors import GuerdonError
from guerdon.objectives.pairwise import pairwise
from guerdon.objectives.scores import Score, log_ratio
from guerdon.objectives.terms import Objective
from guerdon.preferences import bradley_terry


def odpo(
    beta: float = 0.1, alpha: float = 1.0, least: float = 1e-3, smoothing: float = 0.0, column: str = "score"
) -> Objective:
    """−log σ(βh − α·log(s_w − s_l)), s the responses' scores in ``columns`` (Amini et al. 2024, 2402.10571).

    A large gap of scores asks for a margin, one below 1 forgives a negative one. Gaps below ``least`` count as it,
    those of pairs whose chosen response has the lower score too. Margins that the pairs themselves carry are left out:
    the scores already say by how much. Raises GuerdonError where ``least`` is not above 0.
    """
    if not least > 0:
        raise GuerdonError(f"odpo(least=…) must be above 0, but {least} came.")
    ratio = log_ratio()

    def call(batch: Batch, pairs: Pairs, sign: int) -> Tensor:
        reward = beta * ratio(batch, pairs, sign)
        if sign == -1:
            return reward
        score = torch.as_tensor(batch.read(f"columns.{column}"), dtype=reward.dtype, device=reward.device)
        gap = (score[pairs.winner] - score[pairs.loser]).clamp(min=least)
        return reward - alpha * gap.log()

    def contrast(z_w: Tensor, z_l: Tensor, pairs: Pairs) -> Tensor:
        return bradley_terry(z_w, z_l, preferred=pairs.probability().to(z_w), smoothing=smoothing)

    needs = (*ratio.needs, f"columns.{column}")
    return pairwise(Score("offset_log_ratio", call, needs, "reward"), contrast, name="odpo")
