"""Plackett–Luce: the likelihood of a ranking as repeated choices of the best that is left."""

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from guerdon.errors import GuerdonError
from guerdon.reduce import masked

# Stands for log 0 where −∞ would turn gradients into NaN; far below any score, far above float32's end.
_NOTHING = -1e30


def plackett_luce(
    scores: Tensor, ranking: Tensor, mask: Tensor, *, top: int | None = None, weight: Tensor | float = 1.0
) -> Tensor:
    """Negative log-likelihood [L] of L rankings (Plackett 1975): −Σ_k log P(the k-th is chosen of the k-th and later).

    scores: [L,K]. ranking: int64 [L,K], item numbers from best to worst. mask: bool [L,K], which *places* of the
    ranking count (ragged lists; anything may stand elsewhere, also in the scores of items no place names). top: only
    the choices of the first ``top`` places count, the rest being known as "worse" in no order. A list of one item gives
    0; K = 2 equals ``bradley_terry``. Raises GuerdonError on wrong shapes, or where a list names an item twice.
    """
    if not scores.shape == ranking.shape == mask.shape or scores.ndim != 2:
        raise GuerdonError(
            f"plackett_luce needs scores, ranking and mask of one shape [L,K], but {list(scores.shape)}, "
            f"{list(ranking.shape)} and {list(mask.shape)} came."
        )
    _check_items(ranking, mask)
    named = masked(scores.gather(-1, torch.where(mask, ranking, 0)), mask)
    kept = torch.where(mask, named, _NOTHING)
    from_here = kept.flip(-1).logcumsumexp(-1).flip(-1)
    later = torch.cat([from_here[:, 1:], torch.full_like(from_here[:, :1], _NOTHING)], -1)
    chosen = mask if top is None else mask & (mask.cumsum(-1) <= top)
    choice = masked(logsigmoid(named - later), chosen)
    return -weight * choice.sum(-1)


def _check_items(ranking: Tensor, mask: Tensor) -> None:
    k = ranking.shape[-1]
    if bool((mask & ((ranking < 0) | (ranking >= k))).any()):
        raise GuerdonError(f"plackett_luce ranks items 0 to {k - 1}, but the ranking holds others; mask those places.")
    times = torch.zeros_like(ranking).scatter_add(-1, torch.where(mask, ranking, 0), mask.long())
    if bool((times > 1).any()):
        row, item = (times > 1).nonzero()[0].tolist()
        raise GuerdonError(f"plackett_luce: list {row} ranks item {item} more than once.")
