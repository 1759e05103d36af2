"""MODPO: one objective learned from pairs, the others held as fixed margins inside the same logistic loss."""

from collections.abc import Sequence

import torch
from torch import Tensor

from guerdon.batch import Batch, Pairs
from guerdon.errors import GuerdonError
from guerdon.objectives.pairwise import pairwise
from guerdon.objectives.scores import Score, log_ratio, scaled
from guerdon.objectives.terms import Objective
from guerdon.preferences import bradley_terry

Weighed = tuple[float, Score]
"""(weight, reward) of one of the other objectives."""


def modpo(beta: float = 0.1, weight: float = 0.5, others: Sequence[Weighed] | None = None) -> Objective:
    """−log σ((β/w_k)·h − (1/w_k)·Σ_j w_j (r_j(y_w) − r_j(y_l))), h the difference of summed log-ratios, on pairs that
    were judged by objective k alone (Zhou et al. 2023, 2310.03708, section 3; the sign before the margin is a minus).

    weight: w_k in (0, 1]. others: (w_j, r_j) of the rest, any score of a row, never trained here: ``column`` reads a
    reward model's number, ``scaled(beta, log_ratio('guide'))`` the implicit reward of a policy that was aligned to the
    other objective (β times the log-ratio, not the bare ratio). None: the column 'score' with weight 1 − w_k. Its
    optimum on every pair of responses is that of Σ_j w_j r_j − β KL. Margins stored on the pairs are not read: they
    would be those of objective k. Weight 1 without others is DPO. Raises GuerdonError for a weight outside (0, 1].
    """
    if not 0 < weight <= 1:
        raise GuerdonError(f"modpo(weight=…) must lie in (0, 1], but {weight} came.")
    rest = ((1 - weight, column("score")),) if others is None else tuple(others)
    own = scaled(beta / weight, log_ratio())

    def call(batch: Batch, pairs: Pairs, sign: int) -> Tensor:
        z = own(batch, pairs, sign)
        for share, reward in rest:
            z = z - (share / weight) * reward(batch, pairs, sign).detach().to(z)
        return z

    needs = tuple(dict.fromkeys((*own.needs, *(path for _, reward in rest for path in reward.needs))))
    return pairwise(Score("modpo", call, needs, "reward"), likelihood, name="modpo")


def column(name: str = "score") -> Score:
    """A number a row from the data set's column ``name``: a reward that was measured before."""

    def call(batch: Batch, pairs: Pairs, sign: int) -> Tensor:
        values = torch.as_tensor(batch.read(f"columns.{name}"), device=batch.device)
        return values[pairs.rows(sign)]

    return Score(f"column:{name}", call, (f"columns.{name}",), "reward")


def likelihood(z_w: Tensor, z_l: Tensor, pairs: Pairs) -> Tensor:
    """−log σ(z_w − z_l), soft where the pairs are; margins stored on the pairs are not read."""
    return bradley_terry(z_w, z_l, preferred=pairs.probability().to(z_w))
