"""Several rewards at once: each channel gets its own advantage before anything is added (GDPO and kin)."""

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor

from guerdon.advantages.estimate import Estimate, everyone, spread
from guerdon.advantages.group import Convention, group_relative
from guerdon.advantages.whiten import whiten
from guerdon.batch import Partition
from guerdon.errors import GuerdonError
from guerdon.reduce import masked

Estimator = Callable[[Tensor, Partition, Tensor], Estimate]


def per_channel(
    rewards: Tensor, partition: Partition, ok: Tensor | None = None, estimator: Estimator = group_relative
) -> Estimate:
    """One estimator on each of K channels: rewards [K,N], ok bool [K,N] -> advantages [K,N], ok [K,N].

    For a combination at stage *advantage*: pass the result to a Combine. NOT_APPLICABLE entries are left out of their
    own channel's statistics only.
    """
    valid = everyone(rewards, ok)
    found = [estimator(r, partition, v) for r, v in zip(rewards, valid, strict=True)]
    return Estimate(torch.stack([e.advantage for e in found]), torch.stack([e.ok for e in found]))


def gdpo(
    rewards: Tensor,
    partition: Partition,
    *,
    weights: Sequence[float] | Tensor | None = None,
    ok: Tensor | None = None,
    usable: Tensor | None = None,
    convention: str | Convention = "trl",
    whitening: Literal["rows", "steps"] | None = "rows",
    mask: Tensor | None = None,
    eps: float = 1e-4,
) -> Estimate:
    """Standardise each reward inside its group, add with weights, whiten over the batch (GDPO; Liu et al. 2026).

    rewards: [K,N]; ok: bool [K,N], False leaves that channel out for that row; usable: bool [N], False drops the row
    altogether (FAILED in any channel). weights: [K], 1 each by default; they multiply *normalised* advantages.
    convention: how one channel is normalised (the paper: unbiased std + 1e-4). whitening 'rows' [N] counts every row
    once, 'steps' needs the mask and counts every step (long rows weigh more; then the result is [N,T]); None stops
    before it. A constant channel contributes exactly 0. A row no channel can compare gets 0 and ok False.
    """
    if rewards.ndim != 2:
        raise GuerdonError(f"gdpo needs rewards [K,N], a line a channel, but {list(rewards.shape)} came.")
    valid = everyone(rewards, ok)
    if usable is not None:
        valid = valid & usable
    each = per_channel(rewards, partition, valid, lambda r, p, v: group_relative(r, p, v, convention))
    if weights is None:
        weights = torch.ones(len(rewards))
    weight = torch.as_tensor(weights, dtype=each.advantage.dtype, device=rewards.device)
    if weight.shape != (len(rewards),):
        raise GuerdonError(
            f"gdpo needs one weight for each of the {len(rewards)} channels, but {list(weight.shape)} came."
        )
    summed, any_ok = (weight.unsqueeze(-1) * each.advantage).sum(0), each.ok.any(0)
    if whitening == "rows":
        summed = whiten(summed, any_ok, eps=eps)
    elif whitening == "steps":
        if mask is None:
            raise GuerdonError("gdpo needs the mask [N,T] to whiten over steps; give it or whiten over rows.")
        any_ok = mask & any_ok.unsqueeze(-1)
        summed = whiten(spread(summed, mask), any_ok, eps=eps)
    return Estimate(masked(summed, any_ok), any_ok)
