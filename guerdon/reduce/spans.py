"""Spans inside rows: turns, thoughts, steps, windows.

`spans` is int64 [N, T]: equal ids in one row form a span, -1 belongs to none; the same id in two rows means two spans.
A span need not be contiguous (a turn may be interrupted by a tool's output).
"""

from __future__ import annotations

import torch
from torch import Tensor

from guerdon.errors import GuerdonError
from guerdon.reduce.groups import dense_ids, group_count, group_max, group_min, group_sum, members
from guerdon.reduce.masked import masked


def span_ids(spans: Tensor, ok: Tensor | None = None) -> tuple[Tensor, int]:
    """Number all spans of all rows, row by row: [N, T] -> (ids [N, T] in 0 to U-1, -1 outside; U).

    What `per_group_*` needs for one number per span.
    """
    if spans.dim() != 2:
        raise GuerdonError(f"spans are [rows, steps], got shape {list(spans.shape)}")
    member = members(spans, ok)
    if spans.numel() == 0:
        return spans, 0
    rows = torch.arange(spans.shape[0], device=spans.device).unsqueeze(-1)
    dense, most = dense_ids(spans, ok)
    return dense_ids(torch.where(member, rows * max(most, 1) + dense, -1))


def _positions(spans: Tensor) -> Tensor:
    # float64 keeps step numbers exact far beyond float32's 2^24.
    return torch.arange(spans.shape[-1], device=spans.device, dtype=torch.float64).expand(spans.shape)


def first_in_span(spans: Tensor) -> Tensor:
    """True on the first step of every span: [N, T] -> bool [N, T]; False outside spans."""
    at = _positions(spans)
    return (spans >= 0) & (group_min(at, span_ids(spans)[0]) == at)


def last_in_span(spans: Tensor) -> Tensor:
    """True on the last step of every span: [N, T] -> bool [N, T]; False outside spans."""
    at = _positions(spans)
    return (spans >= 0) & (group_max(at, span_ids(spans)[0]) == at)


def span_count(spans: Tensor, ok: Tensor | None = None) -> Tensor:
    """Steps in one's own span: [N, T] -> int64 [N, T]; 0 outside."""
    return group_count(span_ids(spans, ok)[0])


def span_sum(x: Tensor, spans: Tensor, ok: Tensor | None = None) -> Tensor:
    """Sum of x over one's span, given to every step of it: [N, T] -> [N, T].

    0 outside spans and where `ok` is False.
    """
    return group_sum(x, span_ids(spans, ok)[0])


def spread_from_last(x: Tensor, spans: Tensor) -> Tensor:
    """The value standing on a span's last step, given to all its steps: [N, T] -> [N, T]; 0 outside spans."""
    return group_sum(masked(x, last_in_span(spans)), span_ids(spans)[0])
