"""Hidden states at the ends of rows, on a CPU: every prompt once for all its responses, attention segment by segment.

No token is padding, anywhere, and the last layer is finished only where a state is read. A call of attention for each
segment costs a CPU nothing beside its matrix products; a GPU would wait for it (``packed`` is for these). The slow twin
of both is the backbone's own forward pass.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from guerdon.worlds.text import Encoded
from guerdon.worlds.text.llama import turned


@dataclass(frozen=True)
class Tree:
    """Rows that begin alike. trunk: the ids they share. branches: the ids each has after them; a row that is the trunk
    itself has no branch, and stands alone. rows: their numbers."""

    trunk: tuple[int, ...]
    branches: tuple[tuple[int, ...], ...]
    rows: tuple[int, ...]

    @property
    def tokens(self) -> int:
        """How many tokens are computed."""
        return len(self.trunk) + sum(map(len, self.branches))


@dataclass(frozen=True)
class _Segment:
    """Tokens [start, stop) of a pack whose positions begin at ``before``: they see the ``before`` tokens from ``root``
    on, and their own up to themselves."""

    root: int
    before: int
    start: int
    stop: int


def trees_of(rows: Sequence[Encoded], max_tokens: int) -> list[Tree]:
    """Rows by their prompt; a tree that would hold more than ``max_tokens`` is parted (a row always fits). Rows whose
    prompt or response is empty stand alone."""
    groups: dict[object, list[int]] = {}
    for i, row in enumerate(rows):
        groups.setdefault(row.prompt if row.prompt and row.response else i, []).append(i)
    out = []
    for members in groups.values():
        part: list[int] = []
        tokens = shared = len(rows[members[0]].prompt)
        for i in members:
            if part and tokens + len(rows[i].response) > max_tokens:
                out.append(_tree(rows, part))
                part, tokens = [], shared
            part.append(i)
            tokens += len(rows[i].response)
        out.append(_tree(rows, part))
    return out


def _tree(rows: Sequence[Encoded], members: Sequence[int]) -> Tree:
    first = rows[members[0]]
    if len(members) == 1:
        return Tree((*first.prompt, *first.response), (), (members[0],))
    return Tree(first.prompt, tuple(rows[i].response for i in members), tuple(members))


@torch.no_grad()
def last_states(body: Any, rows: Sequence[Encoded], tokens_at_once: int) -> Tensor:
    """Last hidden states [N,D] of each row's last token, ``tokens_at_once`` tokens (one row at least) in a pass.

    body: a backbone that ``worlds.text.forest.supported`` knows. No row may be empty.
    """
    out = torch.empty(len(rows), body.config.hidden_size, device=body.device, dtype=body.dtype)
    for trees in _budgeted(trees_of(rows, tokens_at_once), tokens_at_once):
        out[[i for t in trees for i in t.rows]] = _ends(body, trees)
    return out


def _budgeted(trees: Sequence[Tree], max_tokens: int) -> Iterator[list[Tree]]:
    part: list[Tree] = []
    tokens = 0
    for tree in trees:
        if part and tokens + tree.tokens > max_tokens:
            yield part
            part, tokens = [], 0
        part.append(tree)
        tokens += tree.tokens
    if part:
        yield part


def _segments(trees: Sequence[Tree]) -> tuple[list[_Segment], list[int]]:
    """Every trunk and branch in the order of its tokens, and the segments at whose end a row is read, in the order of
    rows."""
    segments: list[_Segment] = []
    read = []
    at = 0
    for tree in trees:
        root, shared = at, len(tree.trunk)
        segments.append(_Segment(root, 0, root, root + shared))
        at += shared
        if not tree.branches:
            read.append(len(segments) - 1)
        for branch in tree.branches:
            read.append(len(segments))
            segments.append(_Segment(root, shared, at, at + len(branch)))
            at += len(branch)
    return segments, read


def _ends(body: Any, trees: Sequence[Tree]) -> Tensor:
    """[R,D] for the R rows of these trees, in their order."""
    segments, read = _segments(trees)
    device = body.device
    ids = torch.tensor([i for t in trees for part in (t.trunk, *t.branches) for i in part], device=device)
    position = torch.cat([torch.arange(s.before, s.before + s.stop - s.start, device=device) for s in segments])
    x = body.embed_tokens(ids)
    cos, sin = body.rotary_emb(x, position[None])
    cos, sin = cos[0, :, None], sin[0, :, None]
    ends = torch.tensor([segments[i].stop - 1 for i in read], device=device)
    reading = [segments[i] for i in read]
    most = int(position.max()) + 1
    mask = torch.full((most, most), -torch.inf, dtype=x.dtype, device=device).triu_(1)
    for number, layer in enumerate(body.layers):
        attention, size = layer.self_attn, layer.self_attn.head_dim
        normed = layer.input_layernorm(x)
        k = turned(attention.k_proj(normed).view(len(x), -1, size), cos, sin)
        v = attention.v_proj(normed).view(len(x), -1, size)
        if number + 1 == len(body.layers):
            q = turned(attention.q_proj(normed[ends]).view(len(ends), -1, size), cos[ends], sin[ends])
            seen, x = _look_back(q, k, v, reading, attention.scaling), x[ends]
        else:
            q = turned(attention.q_proj(normed).view(len(x), -1, size), cos, sin)
            seen = _attend(q, k, v, segments, mask, attention.scaling)
        # In place: at these sizes new memory costs as much as the sum that is written to it.
        x += attention.o_proj(seen.flatten(1))
        normed = layer.post_attention_layernorm(x)
        gate = layer.mlp.act_fn(layer.mlp.gate_proj(normed))
        gate *= layer.mlp.up_proj(normed)
        x += layer.mlp.down_proj(gate)
    return body.norm(x)


def _attend(q: Tensor, k: Tensor, v: Tensor, segments: Sequence[_Segment], mask: Tensor, scale: float) -> Tensor:
    """[M,heads,D]: what every token sees. mask: [L,L], −inf above the diagonal."""
    out = torch.empty_like(q)
    for s in segments:
        allowed = mask[s.before : s.before + s.stop - s.start, : s.before + s.stop - s.start] if s.before else None
        out[s.start : s.stop] = _seen(q[s.start : s.stop], *_before(k, v, s), allowed, scale)
    return out


def _look_back(q: Tensor, k: Tensor, v: Tensor, segments: Sequence[_Segment], scale: float) -> Tensor:
    """[R,heads,D]: what the last token of each of R segments sees, for queries q [R,heads,D]."""
    out = torch.empty_like(q)
    for i, s in enumerate(segments):
        out[i : i + 1] = _seen(q[i : i + 1], *_before(k, v, s), None, scale)
    return out


def _before(k: Tensor, v: Tensor, s: _Segment) -> tuple[Tensor, Tensor]:
    """Keys and values of what a segment sees, itself included."""
    if s.root + s.before == s.start:  # a trunk, or the branch right behind it
        return k[s.root : s.stop], v[s.root : s.stop]
    trunk, own = slice(s.root, s.root + s.before), slice(s.start, s.stop)
    return torch.cat([k[trunk], k[own]]), torch.cat([v[trunk], v[own]])


def _seen(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, scale: float) -> Tensor:
    """[l,heads,D] of queries [l,heads,D] over keys and values [n,groups,D]; without a mask l = n and it is causal, or
    l = 1 and all is seen."""
    grouped = q.shape[1] != k.shape[1]
    q, k, v = (x.transpose(0, 1)[None] for x in (q, k, v))
    causal = mask is None and q.shape[2] > 1
    seen = F.scaled_dot_product_attention(q, k, v, mask, is_causal=causal, scale=scale, enable_gqa=grouped)
    return seen[0].transpose(0, 1)
