"""Centring and standardising inside ragged groups: the two operations that transforms and advantages share.

Pure functions of values, ids (int64, −1 for whoever belongs to no group) and ok; whoever is left out reads 0.
"""

import torch
from torch import Tensor

from guerdon.batch import Partition
from guerdon.errors import GuerdonError
from guerdon.reduce import group_mean, group_min, group_std, masked


def ids_like(partition: Partition, value: Tensor) -> Tensor:
    """Group ids in the shape of ``value``: row ids [N] are given to every step of an [N,T] value.

    Raises GuerdonError where the partition covers other rows or steps.
    """
    ids = partition.ids.to(value.device)
    if ids.ndim == 1 and value.ndim == 2 and len(ids) == len(value):
        ids = ids.unsqueeze(-1).expand(value.shape)
    if ids.shape != value.shape:
        raise GuerdonError(
            f"The partition covers {list(partition.ids.shape)}, but the values are {list(value.shape)}; cut both alike."
        )
    return ids


def taking_part(ids: Tensor, ok: Tensor | None) -> Tensor:
    """bool in the shape of ids: in a group, and ok where ok is given."""
    return ids >= 0 if ok is None else (ids >= 0) & ok


def centred(x: Tensor, ids: Tensor, ok: Tensor | None = None) -> Tensor:
    """x minus the mean of its group, in the shape of x.

    Identical members give exactly 0 whatever their value (the mean of three 0.1 is not 0.1 in float32, and a division
    by a tiny ε would blow the difference up), so values are shifted by the group's minimum first.
    """
    member = taking_part(ids, ok)
    shifted = masked(x, member) - group_min(x.detach(), ids, ok)
    return masked(shifted - group_mean(shifted, ids, ok), member)


def standardised(
    x: Tensor, ids: Tensor, ok: Tensor | None = None, *, eps: float = 1e-6, correction: int = 1
) -> tuple[Tensor, Tensor]:
    """((x − mean) / (std + ε), the std divided by), both in the shape of x.

    A group without variance (identical members, or count ≤ correction) gives exactly 0, whatever ε. The std carries
    gradient like x.
    """
    std = group_std(x, ids, ok, correction)
    flat = std == 0
    scale = torch.where(flat, torch.ones((), dtype=std.dtype, device=std.device), std + eps)
    return torch.where(flat, 0.0, centred(x, ids, ok) / scale), std
