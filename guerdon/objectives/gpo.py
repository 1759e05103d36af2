"""GPO: the log-ratio of a response is regressed on its mean preference score against the policy's own responses."""

import torch
from torch import Tensor

from guerdon.batch import Lists
from guerdon.objectives.listwise import ListLoss, listwise
from guerdon.objectives.scores import log_ratio
from guerdon.objectives.terms import Objective


def score_regression(beta: float, ends: bool = True, limit: float | None = None) -> ListLoss:
    """Σ_i (z_i − ŝ_i/β)² over the best and the worst row of a list (``ends``), or over all.

    ŝ: the lists' values minus their mean in the list. Mean skew-symmetric scores sum to 0, so they stay as they are;
    of scalar rewards r it is the mean of s = r_i − r_j over the list. limit: ŝ is cut to ±limit first. Of a list whose
    values are all equal, the first and the last row are its ends.
    """

    def loss(z: Tensor, lists: Lists) -> Tensor:
        count = lists.mask.sum(-1, keepdim=True).clamp(min=1)
        score = torch.where(lists.mask, lists.values() - lists.values().sum(-1, keepdim=True) / count, 0.0)
        if limit is not None:
            score = score.clamp(-limit, limit)
        error = torch.where(lists.mask, z - score.to(z) / beta, 0.0).square()
        if not ends:
            return error.sum(-1)
        order = lists.ranking()
        return error.gather(-1, torch.cat([order[:, :1], order.gather(-1, count - 1)], -1)).sum(-1)

    return loss


def gpo(
    beta: float = 1e-3, ends: bool = True, limit: float | None = None, of: str = "policy", to: str = "reference"
) -> Objective:
    """Σ over best and worst of (log π_θ/π_t − ŝ(y ≻ π_t)/β)², π_t being ``to``, the policy that the responses were
    drawn from (Zhang et al. 2024, 2410.02197: the log-partition is taken to be 0; the least-squares form of
    π_{t+1} ∝ π_t·exp(ŝ/β)).

    Lists carry ŝ as values. The released tables hold s minus its transpose, twice our s: double their β. SPPO is the
    same regression on win rates, ŝ = P̂ − ½.
    """
    return listwise(log_ratio(of, to), score_regression(beta, ends, limit), name="gpo")
