"""What an advantage estimator gives back, and how a row's number reaches its steps."""

from typing import NamedTuple

import torch
from torch import Tensor

from guerdon.errors import GuerdonError
from guerdon.reduce import masked


class Estimate(NamedTuple):
    """advantage: [N] or [N,T], detached, 0 where not ok. ok: bool alike, False where there is nothing to learn from
    (a FAILED or NOT_APPLICABLE reward, no group, a group without peers): such units must not enter a denominator."""

    advantage: Tensor
    ok: Tensor


def everyone(reward: Tensor, ok: Tensor | None) -> Tensor:
    """ok, or True everywhere. Raises GuerdonError unless ok is bool in the shape of the rewards."""
    if ok is None:
        return torch.ones(reward.shape, dtype=torch.bool, device=reward.device)
    if ok.dtype != torch.bool or ok.shape != reward.shape:
        raise GuerdonError(
            f"`ok` must be bool {list(reward.shape)} like the rewards, but {ok.dtype} {list(ok.shape)} came."
        )
    return ok


def spread(advantage: Tensor, mask: Tensor) -> Tensor:
    """A row's advantage [N] on each of its steps [N,T], 0 outside the mask."""
    if advantage.ndim != 1 or mask.ndim != 2 or len(advantage) != len(mask):
        raise GuerdonError(
            f"spread needs advantages [N] and a mask [N,T], but {list(advantage.shape)} and {list(mask.shape)} came."
        )
    return masked(advantage.unsqueeze(-1).expand(mask.shape), mask)
