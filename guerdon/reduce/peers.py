"""Statistics of one's peers: the members of one's group other than oneself (leave-one-out).

Subtracting oneself from a sum, or one's own square from a variance, leaves rounding noise where the peers are
identical, and a division by that noise made advantages of -2075 in one trainer. Here the peers before and after oneself
are accumulated apart and merged (Chan, Golub & LeVeque 1979), so identical peers have exactly their value as mean and
exactly 0 as deviation, and an outlier never touches its own baseline.
"""

from __future__ import annotations

import torch
from torch import Tensor

from guerdon.reduce.groups import flatten, slot_count
from guerdon.reduce.masked import safe_sqrt

Moments = tuple[Tensor, Tensor, Tensor]  # count, mean, sum of squared deviations; each [E]


def _merge(a: Moments, b: Moments) -> Moments:
    count = a[0] + b[0]
    share = b[0] / count.clamp(min=1)
    gap = b[1] - a[1]
    return count, a[1] + gap * share, a[2] + b[2] + gap.square() * a[0] * share


def _shift(state: Moments, by: int, slot: Tensor) -> Moments:
    """The state of the entry `by` places earlier if it belongs to the same group, else an empty state."""
    same = torch.zeros_like(slot, dtype=torch.bool)
    same[by:] = slot[by:] == slot[:-by]
    moved = [torch.cat([part.new_zeros(by), part[:-by]]) for part in state]
    count, mean, squares = (torch.where(same, part, 0.0) for part in moved)
    return count, mean, squares


def _before(x: Tensor, slot: Tensor, longest: int) -> Moments:
    """Moments of the entries before each one in its group; x, slot [E] with groups contiguous.

    A doubling scan over groups.
    """
    state: Moments = (torch.ones_like(x), x, torch.zeros_like(x))
    width = 1
    while width < longest:
        state = _merge(_shift(state, width, slot), state)
        width *= 2
    return _shift(state, 1, slot)


def _peer_moments(x: Tensor, ids: Tensor, ok: Tensor | None) -> Moments:
    values, slot, groups = flatten(x, ids, ok)
    if values.numel() == 0:
        return values, values, values
    order = torch.argsort(slot, stable=True)
    value, place = values[order], slot[order]
    sizes = slot_count(values, slot, groups)[:groups]
    longest = int(sizes.max()) if groups else 1
    before = _before(value, place, longest)
    count, mean, squares = (part.flip(0) for part in _before(value.flip(0), place.flip(0), longest))
    merged = _merge(before, (count, mean, squares))
    back = torch.argsort(order)
    inside = slot < groups
    out = tuple(torch.where(inside, part[back], 0.0).reshape(x.shape) for part in merged)
    return out[0], out[1], out[2]


def leave_one_out_mean(x: Tensor, ids: Tensor, ok: Tensor | None = None) -> Tensor:
    """Mean of one's peers, in the shape of x (the RLOO baseline; Ahmadian et al. 2024, eq. 7).

    Someone without peers (a group of one) and whoever is left out get 0: `group_count(ids, ok) > 1` says where the
    value means something, and the caller decides what to do elsewhere.
    """
    return _peer_moments(x, ids, ok)[1]


def leave_one_out_std(x: Tensor, ids: Tensor, ok: Tensor | None = None, correction: int = 1) -> Tensor:
    """Standard deviation of one's peers, divided by (peers - correction), in the shape of x.

    Identical peers, and peers <= correction, give exactly 0 with gradient 0.
    """
    count, _, squares = _peer_moments(x, ids, ok)
    return safe_sqrt(torch.where(count > correction, squares / (count - correction).clamp(min=1), 0.0))
