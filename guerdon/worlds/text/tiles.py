"""Segments of a pack side by side, for devices that want few large calls of attention."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from guerdon.worlds.text.packs import Segment

Asked = tuple[Segment, int]
"""A segment, and the flat number of the first of its tokens whose query is asked; all behind it are."""

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
