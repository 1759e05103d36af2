"""Attention over a pack a segment at a time, for CPUs: no token is padding, and calls cost little beside products.

A pack is one node of autograd's graph, since nodes for each small product would cost as much as these. The weights of
short segments are kept for the backward pass, where torch's own attention computes them again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from guerdon.worlds.text.packs import Segment

Asked = tuple[Segment, int]
"""A segment, and the flat number of the first of its tokens whose query is asked; all behind it are."""

SHORT = 512
"""Most tokens that a segment whose weights are kept may see: these are a number a head for each of them, where all else
that a layer keeps of a token is some hundred numbers a head."""

BLOCK = 128
"""Most queries of a product whose weights are kept: what stands behind the last of them is not computed."""


def by_segments(q: Tensor, k: Tensor, v: Tensor, asked: Sequence[Asked], scale: float) -> Tensor:
    """[n,heads,D]: what the asked tokens see; q [n,heads,D] begins with their queries, in their order, and rows behind
    these give 0. k, v [m,groups,D]: keys and values by flat number. Carries gradient."""
    # torch's own attention makes the softmax of half-precision scores in float32; kept ones would be half, too.
    wide = q.dtype in (torch.float32, torch.float64)
    keep = wide and max((_seen(s) for s, _ in asked), default=0) <= SHORT
    # Half precision makes these small products slower on a CPU, not faster.
    with torch.autocast("cpu", enabled=False):
        v = v.to(k.dtype)
        found: Tensor = _Kept.apply(q, k, v, _blocks(asked), scale) if keep else _flash(q, k, v, asked, scale)
    return found


def _blocks(asked: Sequence[Asked]) -> list[Asked]:
    """The same queries in the same order, at most ``BLOCK`` of a segment at once."""
    out = []
    for s, first in asked:
        parts = -(-(s.stop - first) // BLOCK)
        ends = [first + i * (s.stop - first) // parts for i in range(parts + 1)]
        out += [(Segment(s.start, stop, s.trunk, s.before), start) for start, stop in pairwise(ends)]
    return out


class _Kept(torch.autograd.Function):
    """With P = softmax(s·QKᵀ), O = PV and G the gradient of O: dV = PᵀG, dS = P∘(GVᵀ − rowsum(G∘O)), dQ = s·dS·K,
    dK = s·dSᵀ·Q. A trunk's keys and values take the sums over its branches."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, asked: Sequence[Asked], scale: float) -> Tensor:
        out, kept, groups, moves = torch.zeros_like(q), [], k.shape[1], any(ctx.needs_input_grad)
        each, later = q.shape[1] // groups, _later(max((_seen(s) for s, _ in asked), default=0), q)
        for s, own, n in _parts(asked):
            seen = _seen(s)
            mask = later[seen - n : seen, :seen]
            mask = mask if each == 1 else mask.repeat(each, 1)
            query, key = _by_group(q[own], groups), _keys(k, s).permute(1, 2, 0)
            weights = torch.baddbmm(mask, query, key, alpha=scale).softmax(-1)
            _put(out[own], torch.bmm(weights, _keys(v, s).transpose(0, 1)))
            if moves:
                kept.append(weights)
        ctx.save_for_backward(q, k, v, out, *kept)
        ctx.asked, ctx.scale = asked, scale
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, out, *kept = ctx.saved_tensors
        (grad,), groups = grads, k.shape[1]
        along = torch.linalg.vecdot(grad, out)[..., None]
        to_q, to_k, to_v = torch.zeros_like(q), torch.zeros_like(k), torch.zeros_like(v)
        for weights, (s, own, _) in zip(kept, _parts(ctx.asked), strict=True):
            g = _by_group(grad[own], groups)
            _add(to_v, s, torch.bmm(weights.transpose(1, 2), g))
            slope = torch.bmm(g, _keys(v, s).permute(1, 2, 0)).sub_(_by_group(along[own], groups)).mul_(weights)
            _put(to_q[own], torch.bmm(slope, _keys(k, s).transpose(0, 1)))
            _add(to_k, s, torch.bmm(slope.transpose(1, 2), _by_group(q[own], groups)))
        return to_q.mul_(ctx.scale), to_k.mul_(ctx.scale), to_v, None, None


def _flash(q: Tensor, k: Tensor, v: Tensor, asked: Sequence[Asked], scale: float) -> Tensor:
    """torch's own attention, which keeps no weights."""
    later = _later(max((_seen(s) for s, _ in asked), default=0), q)
    out, end = [], 0
    for s, own, n in _parts(asked):
        seen, end = _seen(s), own.stop
        allowed = None if n in (1, seen) else later[seen - n : seen, :seen]
        query, key, value = (x.transpose(0, 1)[None] for x in (q[own], _keys(k, s), _keys(v, s)))
        found = F.scaled_dot_product_attention(
            query, key, value, allowed, is_causal=n == seen > 1, scale=scale, enable_gqa=q.shape[1] != k.shape[1]
        )
        out.append(found[0].transpose(0, 1))
    return torch.cat([*out, torch.zeros_like(q[end:])])


def _parts(asked: Sequence[Asked]) -> Iterator[tuple[Segment, slice, int]]:
    """Each segment, the places of its queries, and their number."""
    end = 0
    for s, first in asked:
        begin, end = end, end + s.stop - first
        yield s, slice(begin, end), end - begin


def _seen(s: Segment) -> int:
    """How many tokens the last of a segment sees."""
    return s.before + s.stop - s.start


def _keys(x: Tensor, s: Segment) -> Tensor:
    """The rows of x that a segment sees: its trunk's, then its own."""
    own = x[s.start : s.stop]
    return torch.cat((x[s.trunk : s.trunk + s.before], own)) if s.before else own


def _add(x: Tensor, s: Segment, more: Tensor) -> None:
    """Add more [groups,seen,D] to the rows of x [m,groups,D] that ``_keys`` gives."""
    more = more.transpose(0, 1)
    if s.before:
        x[s.trunk : s.trunk + s.before].add_(more[: s.before])
    x[s.start : s.stop].add_(more[s.before :])


def _by_group(x: Tensor, groups: int) -> Tensor:
    """[groups,r·n,D] of x [n,heads,D]: the r heads of a group one after the other."""
    n, heads, size = x.shape
    if heads == groups:
        return x.transpose(0, 1)
    return x.view(n, groups, heads // groups, size).permute(1, 2, 0, 3).reshape(groups, -1, size)


def _put(into: Tensor, x: Tensor) -> None:
    """Write x [groups,r·n,D] to ``into`` [n,heads,D], the way back of ``_by_group``."""
    n, heads, size = into.shape
    into.copy_(x.view(heads, n, size).transpose(0, 1))


def _later(n: int, like: Tensor) -> Tensor:
    """[n,n]: −inf where a key stands behind the query, else 0."""
    return torch.full((n, n), -torch.inf, dtype=like.dtype, device=like.device).triu_(1)
