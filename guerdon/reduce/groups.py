"""Statistics of ragged groups, without loops over groups.

`ids` is int64 of the same shape as the values: equal ids form a group, -1 belongs to none; `ok` (bool, optional) leaves
members out. `group_*` give every member the statistic of its group (same shape as x; 0 for whoever is left out),
`per_group_*` give one number per group [G], 0 for a group without members. Whoever is left out never enters, so NaN may
stand there. Sums are accumulated in float64 where the device has it.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from guerdon.errors import GuerdonError
from guerdon.reduce.masked import masked, real, safe_sqrt

_NOBODY = torch.iinfo(torch.int64).max

# A statistic maps (values [E], slot [E], groups) to [groups + 1]; the last slot collects whoever is left out, whose
# values are 0.
Statistic = Callable[[Tensor, Tensor, int], Tensor]


def members(ids: Tensor, ok: Tensor | None = None) -> Tensor:
    """Who takes part: id not negative and, when given, ok.

    Same shape as ids, bool. Raises GuerdonError on wrong dtypes or shapes.
    """
    if ids.dtype != torch.int64:
        raise GuerdonError(f"group ids are int64 (-1 for 'in no group'), got {ids.dtype}; write `ids.long()`")
    if ok is None:
        return ids >= 0
    if ok.dtype != torch.bool or ok.shape != ids.shape:
        raise GuerdonError(f"`ok` must be bool {list(ids.shape)} like the ids, got {ok.dtype} {list(ok.shape)}")
    return (ids >= 0) & ok


def dense_ids(ids: Tensor, ok: Tensor | None = None) -> tuple[Tensor, int]:
    """Renumber groups 0 .. G-1 in order of their ids -> (ids of the same shape, -1 for whoever is left out; G)."""
    member = members(ids, ok)
    found, inverse = torch.unique(torch.where(member, ids, _NOBODY), return_inverse=True)
    groups = int((found != _NOBODY).sum())
    return torch.where(member, inverse, -1), groups


def flatten(x: Tensor, ids: Tensor, ok: Tensor | None) -> tuple[Tensor, Tensor, int]:
    """(values [E], 0 for whoever is left out; slot [E] in 0 to G, G meaning left out; G), E the number of entries."""
    if x.shape != ids.shape:
        raise GuerdonError(
            f"values {list(x.shape)} and group ids {list(ids.shape)} must have the same shape; expand the ids"
        )
    dense, groups = dense_ids(ids, ok)
    slot = torch.where(dense >= 0, dense, groups)
    return masked(x, dense >= 0).flatten(), slot.flatten(), groups


def spread(values: Tensor, ids: Tensor, ok: Tensor | None = None) -> Tensor:
    """Give every member its group's value: values [G], ids of any shape with 0 <= id < G or -1 -> shape of ids.

    0 if left out.
    """
    member = members(ids, ok)
    return masked(torch.cat([real(values), values.new_zeros(1)])[torch.where(member, ids, len(values))], member)


def slot_sum(x: Tensor, slot: Tensor, groups: int) -> Tensor:
    """Sum per slot: x [E], slot [E] -> [groups + 1]."""
    wide = x.dtype if x.device.type == "mps" else torch.float64
    return torch.zeros(groups + 1, dtype=wide, device=x.device).index_add(0, slot, x.to(wide)).to(x.dtype)


def slot_count(x: Tensor, slot: Tensor, groups: int) -> Tensor:
    """Members per slot, int64: x [E], slot [E] -> [groups + 1]."""
    return torch.bincount(slot, minlength=groups + 1)


def _max(x: Tensor, slot: Tensor, groups: int) -> Tensor:
    start = torch.full((groups + 1,), -math.inf, dtype=x.dtype, device=x.device)
    found = start.scatter_reduce(0, slot, x, "amax", include_self=True)
    return masked(found, slot_count(x, slot, groups) > 0)


def _min(x: Tensor, slot: Tensor, groups: int) -> Tensor:
    return -_max(-x, slot, groups)


def _mean(x: Tensor, slot: Tensor, groups: int) -> Tensor:
    return slot_sum(x, slot, groups) / slot_count(x, slot, groups).clamp(min=1)


def _std(correction: int) -> Statistic:
    def std(x: Tensor, slot: Tensor, groups: int) -> Tensor:
        # Shifting by a member makes identical values deviate by exactly 0; E[x^2] - mean^2 would leave noise to be
        # divided by.
        x = x - _min(x.detach(), slot, groups)[slot]
        squares = slot_sum((x - _mean(x, slot, groups)[slot]).square(), slot, groups)
        count = slot_count(x, slot, groups)
        return safe_sqrt(torch.where(count > correction, squares / (count - correction).clamp(min=1), 0.0))

    return std


def _quantile(q: float) -> Statistic:
    if not 0.0 <= q <= 1.0:
        raise GuerdonError(f"a quantile lies between 0 and 1, got {q}")

    def quantile(x: Tensor, slot: Tensor, groups: int) -> Tensor:
        count = slot_count(x, slot, groups)
        first = count.cumsum(0) - count
        position = q * (count - 1).clamp(min=0).to(x.dtype)
        low = position.floor().long()
        high = torch.minimum(low + 1, (count - 1).clamp(min=0))
        ordered = torch.cat([x[within_group_order(x, slot)], x.new_zeros(1)])
        value = torch.lerp(ordered[first + low], ordered[first + high], position - low)
        return masked(value, count > 0)

    return quantile


def within_group_order(x: Tensor, slot: Tensor) -> Tensor:
    """Indices that sort by slot and, inside a slot, by value.

    Equal values keep their order. x [E], slot [E] -> [E] int64.
    """
    by_value = torch.argsort(x.detach(), stable=True)
    return by_value[torch.argsort(slot[by_value], stable=True)]


def _for_members(statistic: Statistic, x: Tensor, ids: Tensor, ok: Tensor | None) -> Tensor:
    values, slot, groups = flatten(x, ids, ok)
    found = statistic(values, slot, groups)[slot].reshape(x.shape)
    return torch.where(slot.reshape(x.shape) < groups, found, torch.zeros((), dtype=found.dtype, device=found.device))


def _for_groups(statistic: Statistic, x: Tensor, ids: Tensor, groups: int, ok: Tensor | None) -> Tensor:
    if x.shape != ids.shape:
        raise GuerdonError(
            f"values {list(x.shape)} and group ids {list(ids.shape)} must have the same shape; expand the ids"
        )
    member = members(ids, ok)
    if bool((member & (ids >= groups)).any()):
        raise GuerdonError(
            f"group ids must be below the number of groups {groups}, got {int(ids.max())}; renumber with `dense_ids`"
        )
    slot = torch.where(member, ids, groups).flatten()
    return statistic(masked(x, member).flatten(), slot, groups)[:groups]


def group_count(ids: Tensor, ok: Tensor | None = None) -> Tensor:
    """Members in one's own group, oneself included, int64 in the shape of ids; 0 for whoever is left out."""
    return _for_members(slot_count, torch.zeros_like(ids), ids, ok)


def group_sum(x: Tensor, ids: Tensor, ok: Tensor | None = None) -> Tensor:
    """Sum of one's group, in the shape of x."""
    return _for_members(slot_sum, x, ids, ok)


def group_mean(x: Tensor, ids: Tensor, ok: Tensor | None = None) -> Tensor:
    """Mean of one's group, in the shape of x. A group of one is its own mean."""
    return _for_members(_mean, x, ids, ok)


def group_std(x: Tensor, ids: Tensor, ok: Tensor | None = None, correction: int = 1) -> Tensor:
    """Standard deviation of one's group, divided by (count - correction), in the shape of x.

    correction 1: unbiased variance; 0: population. Two passes. Identical members, and count <= correction (a group of
    one), give exactly 0 with gradient 0: the caller decides what to divide by.
    """
    return _for_members(_std(correction), x, ids, ok)


def group_min(x: Tensor, ids: Tensor, ok: Tensor | None = None) -> Tensor:
    """Smallest value of one's group, in the shape of x; ties share the gradient equally."""
    return _for_members(_min, x, ids, ok)


def group_max(x: Tensor, ids: Tensor, ok: Tensor | None = None) -> Tensor:
    """Largest value of one's group, in the shape of x; ties share the gradient equally."""
    return _for_members(_max, x, ids, ok)


def group_quantile(x: Tensor, ids: Tensor, q: float, ok: Tensor | None = None) -> Tensor:
    """The q-quantile of one's group with linear interpolation (numpy's default), in the shape of x.

    Raises GuerdonError unless 0 <= q <= 1.
    """
    return _for_members(_quantile(q), x, ids, ok)


def group_rank(x: Tensor, ids: Tensor, ok: Tensor | None = None) -> Tensor:
    """Rank in one's group: 1 the smallest, n the largest, ties the average of their places.

    Shape of x, no gradient, 0 if left out.
    """
    values, slot, groups = flatten(x.detach(), ids, ok)
    order = within_group_order(values, slot)
    value, place = values[order], slot[order]
    count = slot_count(values, slot, groups)
    rank = torch.arange(1, len(values) + 1, device=x.device) - (count.cumsum(0) - count)[place]
    new_run = torch.ones_like(place, dtype=torch.bool)
    new_run[1:] = (value[1:] != value[:-1]) | (place[1:] != place[:-1])
    run = new_run.cumsum(0) - 1
    tied = _mean(rank.to(values.dtype), run, len(values))[run]
    out = torch.empty_like(values).index_copy(0, order, tied)
    return masked(out, slot < groups).reshape(x.shape)


def per_group_count(ids: Tensor, groups: int, ok: Tensor | None = None) -> Tensor:
    """Members of each group 0..groups-1 -> [G] int64."""
    return _for_groups(slot_count, torch.zeros_like(ids), ids, groups, ok)


def per_group_sum(x: Tensor, ids: Tensor, groups: int, ok: Tensor | None = None) -> Tensor:
    """Sum of each group -> [G]. Raises GuerdonError when an id is not below `groups` (so do all per_group_*)."""
    return _for_groups(slot_sum, x, ids, groups, ok)


def per_group_mean(x: Tensor, ids: Tensor, groups: int, ok: Tensor | None = None) -> Tensor:
    """Mean of each group -> [G]; 0 for an empty group."""
    return _for_groups(_mean, x, ids, groups, ok)


def per_group_std(x: Tensor, ids: Tensor, groups: int, ok: Tensor | None = None, correction: int = 1) -> Tensor:
    """Standard deviation of each group -> [G]; as `group_std`."""
    return _for_groups(_std(correction), x, ids, groups, ok)


def per_group_min(x: Tensor, ids: Tensor, groups: int, ok: Tensor | None = None) -> Tensor:
    """Smallest value of each group -> [G]; 0 for an empty group."""
    return _for_groups(_min, x, ids, groups, ok)


def per_group_max(x: Tensor, ids: Tensor, groups: int, ok: Tensor | None = None) -> Tensor:
    """Largest value of each group -> [G]; 0 for an empty group."""
    return _for_groups(_max, x, ids, groups, ok)


def per_group_quantile(x: Tensor, ids: Tensor, groups: int, q: float, ok: Tensor | None = None) -> Tensor:
    """The q-quantile of each group -> [G]; as `group_quantile`, 0 for an empty group."""
    return _for_groups(_quantile(q), x, ids, groups, ok)
