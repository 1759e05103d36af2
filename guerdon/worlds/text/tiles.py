"""Segments of a pack side by side, for devices that want few large calls of attention."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from guerdon.worlds.text.segments import Asked

_WIDER, _SLACK = 1.5, 8
"""A tile takes segments up to this much longer than its shortest: padding costs work, a tile more costs calls."""


@dataclass(frozen=True)
class Tile:
    """B segments of similar length, as attention sees them.

    queries: int64 [B,W], flat numbers of tokens, left; real bool [B,W], False on padding (which repeats some token).
    keys: int64 [B,K], flat numbers; query w of segment b sees the first ``offset[b] + w + 1``. offset: int64 [B], or
    None where queries and keys are the same tokens.
    """

    queries: Tensor
    real: Tensor
    keys: Tensor
    offset: Tensor | None

    def mask(self, dtype: torch.dtype) -> Tensor | None:
        """[B,1,W,K], 0 where a query may look and −inf elsewhere; None where each sees what stands before it."""
        if self.offset is None:
            return None
        device = self.keys.device
        seen = self.offset[:, None] + torch.arange(1, self.queries.shape[1] + 1, device=device)
        hidden = torch.arange(self.keys.shape[1], device=device) >= seen[..., None]
        return torch.zeros(hidden.shape, dtype=dtype, device=device).masked_fill_(hidden, -torch.inf)[:, None]


def tiles(asked: Sequence[Asked], device: torch.device) -> list[Tile]:
    """Tiles that hold every asked token once as a query."""

    def kind(a: Asked) -> tuple[bool, int, int]:
        segment, first = a
        return segment.before > 0, segment.stop - first, segment.before

    out: list[Tile] = []
    part: list[Asked] = []
    for a in sorted(asked, key=kind):
        if part and (kind(a)[0] != kind(part[0])[0] or kind(a)[1] > _WIDER * kind(part[0])[1] + _SLACK):
            out.append(_tile(part, device))
            part = []
        part.append(a)
    return [*out, _tile(part, device)] if part else out


def _tile(part: Sequence[Asked], device: torch.device) -> Tile:
    start, stop, trunk, before, first = (
        torch.tensor(x, device=device)[:, None]
        for x in zip(*((s.start, s.stop, s.trunk, s.before, first) for s, first in part), strict=True)
    )
    wide = torch.arange(int((stop - first).max()), device=device)
    real = wide < stop - first
    seen = before + stop - start
    deep = torch.arange(int(seen.max()), device=device)
    keys = torch.where(deep < before, trunk + deep, start + (deep - before))
    same = not bool(before.any()) and bool((first == start).all())
    return Tile(
        torch.where(real, first + wide, start),
        real,
        torch.where(deep < seen, keys, start),
        None if same else (before + first - start).squeeze(1),
    )


def by_tiles(q: Tensor, k: Tensor, v: Tensor, asked: Sequence[Asked], scale: float) -> Tensor:
    """What ``segments.by_segments`` gives, in a few calls for segments of similar length; q holds the asked tokens'
    queries alone."""
    at = torch.cat([torch.arange(first, s.stop, device=q.device) for s, first in asked])
    number = torch.zeros(len(k), dtype=torch.int64, device=q.device)
    number[at] = torch.arange(len(at), device=q.device)
    parts, places = [], []
    for tile in tiles(asked, q.device):
        mask = tile.mask(q.dtype)
        seen = F.scaled_dot_product_attention(
            _heads(q, number[tile.queries]),
            _heads(k, tile.keys),
            _heads(v, tile.keys),
            attn_mask=mask,
            is_causal=mask is None,
            scale=scale,
            enable_gqa=q.shape[1] != k.shape[1],
        )
        parts.append(seen.transpose(1, 2)[tile.real])
        places.append(number[tile.queries[tile.real]])
    order = torch.empty_like(at)
    order[torch.cat(places)] = torch.arange(len(at), device=q.device)
    return torch.cat(parts).index_select(0, order)


def _heads(x: Tensor, slots: Tensor) -> Tensor:
    """[B,heads,W,D] of flat [n,heads,D] at the numbers ``slots`` [B,W]."""
    return x.index_select(0, slots.reshape(-1)).view(*slots.shape, *x.shape[1:]).transpose(1, 2)
