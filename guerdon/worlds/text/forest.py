"""Hidden states of packed rows through the modules of a Llama-shaped model: linear maps see tokens alone, attention
sees segments, the last layer is finished only where a state is read, and rows that are still carry no gradient.

It is used only where ``heads.find_head`` finds it equal to the model itself, which is its slow twin.
"""

from bisect import bisect_left
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from guerdon.worlds.text.llama import shaped
from guerdon.worlds.text.packs import Pack, Segment
from guerdon.worlds.text.rms import normed
from guerdon.worlds.text.rotary import turned
from guerdon.worlds.text.tiles import Asked, tiles

_STEP = 256


def supported(body: Any) -> bool:
    """Whether a backbone has the shape this file reads: Llama's, without dropout or gradient checkpointing where it
    trains."""
    return (
        shaped(body)
        and not getattr(body.config, "attention_dropout", 0.0)
        and not any(getattr(layer, "gradient_checkpointing", False) for layer in body.layers)
    )


def states(body: Any, pack: Pack, read: Tensor) -> Tensor:
    """Last hidden states [m,D] of the tokens with the flat numbers ``read`` [m], repeats allowed. Carries gradient, but
    not to the tokens behind ``pack.moving``.

    body: a backbone that is ``supported``.
    """
    needed, back = torch.unique(read, return_inverse=True)
    cut = pack.moving if torch.is_grad_enabled() else len(pack.ids)
    ends = [(begin, end) for begin, end in ((0, cut), (cut, len(pack.ids))) if begin < end]
    lanes = [_Lane(body, pack, begin, end, needed, end <= cut) for begin, end in ends]
    for i, layer in enumerate(body.layers):
        before: list[tuple[Tensor, Tensor]] = []
        for lane in lanes:
            before.append(lane.through(layer, before, i + 1 == len(body.layers)))
    return torch.cat([lane.last(body.norm) for lane in lanes])[back]


class _Lane:
    """The flat tokens [begin, end) on their way through the layers, with gradient or without; a later lane sees the
    tokens of the earlier ones."""

    def __init__(self, body: Any, pack: Pack, begin: int, end: int, needed: Tensor, moves: bool) -> None:
        self.moves = moves and torch.is_grad_enabled()
        self.seen = [s for s in pack.segments if s.start < end]
        self.own = [s for s in self.seen if s.start >= begin]
        self.begin, self.n, self.rows = begin, end - begin, _even(end - begin, pack.ids.device)
        self.needed = needed[(needed >= begin) & (needed < end)]
        with torch.set_grad_enabled(self.moves):
            x = body.embed_tokens(pack.ids[begin:end])
            cos, sin = body.rotary_emb(x, pack.position[None, begin:end])
            self.x, self.cos, self.sin = (_filled(t, self.rows) for t in (x, cos[0, :, None], sin[0, :, None]))

    def through(self, layer: Any, before: Sequence[tuple[Tensor, Tensor]], last: bool) -> tuple[Tensor, Tensor]:
        """One layer; its keys and values [n,heads,D]. before: those of the earlier lanes. last: whether only needed
        tokens are asked for."""
        with torch.set_grad_enabled(self.moves):
            return self._through(layer, before, last)

    def _through(self, layer: Any, before: Sequence[tuple[Tensor, Tensor]], last: bool) -> tuple[Tensor, Tensor]:
        attention, x, rows, cos, sin = layer.self_attn, self.x, self.rows, self.cos, self.sin
        size = attention.head_dim
        y = normed(layer.input_layernorm, x)
        k = turned(attention.k_proj(y).view(rows, -1, size), cos, sin)[: self.n]
        v = attention.v_proj(y).view(rows, -1, size)[: self.n]
        if last and not len(self.needed):  # still branches of one token: the trunk's last state predicts it
            return k, v
        asked, n = [(s, s.start) for s in self.own], self.n
        if last:
            asked = _reaching(self.own, self.needed.tolist())
            at = torch.cat([torch.arange(first, s.stop, device=x.device) for s, first in asked])
            n, rows = len(at), _even(len(at), x.device)
            x, y, cos, sin = (_filled(t[at - self.begin], rows) for t in (x, y, cos, sin))
            self.needed = torch.searchsorted(at, self.needed)
        q = turned(attention.q_proj(y).view(rows, -1, size), cos, sin)[:n]
        look = _by_segments if x.device.type == "cpu" else _by_tiles
        keys, values = (torch.cat([*held, own]) if before else own for *held, own in zip(*before, (k, v), strict=True))
        seen = look(q, keys, values, self.seen, asked, attention.scaling).flatten(1)
        x = _plus(x, attention.o_proj(_filled(seen, rows)))
        self.x = _plus(x, layer.mlp(normed(layer.post_attention_layernorm, x)))
        return k, v

    def last(self, norm: Any) -> Tensor:
        """The states of the needed tokens, in their order."""
        with torch.set_grad_enabled(self.moves):
            states: Tensor = norm(self.x[self.needed])
        return states


def _even(n: int, device: torch.device) -> int:
    """Rows that n tokens are filled up to. In half precision a CPU compiles a kernel for every new number of rows and
    keeps it: rounded up, the numbers come back."""
    return -(-n // _STEP) * _STEP if device.type == "cpu" and torch.is_autocast_enabled("cpu") else n


def _filled(x: Tensor, rows: int) -> Tensor:
    """x [n,…] with rows of zeros behind it, ``rows`` in all."""
    return x if rows == len(x) else torch.cat([x, x.new_zeros(rows - len(x), *x.shape[1:])])


def _plus(x: Tensor, y: Tensor) -> Tensor:
    """x + y; in place where no gradient needs x, for new memory costs as much as the sum that is written to it."""
    return x + y if torch.is_grad_enabled() or x.dtype != y.dtype else x.add_(y)


def _reaching(segments: Sequence[Segment], needed: Sequence[int]) -> list[Asked]:
    """The segments with needed tokens (sorted), each from the first one on."""
    out = []
    for s in segments:
        i = bisect_left(needed, s.start)
        if i < len(needed) and needed[i] < s.stop:
            out.append((s, needed[i]))
    return out


def _by_segments(
    q: Tensor, k: Tensor, v: Tensor, segments: Sequence[Segment], asked: Sequence[Asked], scale: float
) -> Tensor:
    """[n,heads,D]: what the asked tokens, whose queries q [n,heads,D] holds in their order, see. A call a segment: no
    token is padding, and a call costs a CPU nothing beside its products."""
    sizes = [s.stop - s.start for s in segments]
    number = {s.start: i for i, s in enumerate(segments)}
    keys, values = k.split(sizes), v.to(k.dtype).split(sizes)
    most = max((s.before + s.stop - s.start for s, _ in asked), default=0)
    mask = torch.full((most, most), -torch.inf, dtype=q.dtype, device=q.device).triu_(1)
    out = []
    queries = q.split([s.stop - first for s, first in asked])
    for s, query in zip((s for s, _ in asked), queries, strict=True):
        own, seen, n = number[s.start], s.before + s.stop - s.start, len(query)
        both = [(x[number[s.trunk]], x[own]) if s.before else (x[own],) for x in (keys, values)]
        key, value = (torch.cat(x) if len(x) > 1 else x[0] for x in both)
        allowed = None if n in (1, seen) else mask[seen - n : seen, :seen]
        query, key, value = (x.transpose(0, 1)[None] for x in (query, key, value))
        grouped = q.shape[1] != k.shape[1]
        # Half precision makes these small products slower on a CPU, not faster.
        with torch.autocast("cpu", enabled=False):
            found = F.scaled_dot_product_attention(
                query, key, value, allowed, is_causal=n == seen > 1, scale=scale, enable_gqa=grouped
            )
        out.append(found[0].transpose(0, 1))
    return torch.cat(out)


def _by_tiles(
    q: Tensor, k: Tensor, v: Tensor, segments: Sequence[Segment], asked: Sequence[Asked], scale: float
) -> Tensor:
    """What ``_by_segments`` gives, in a few calls for segments of similar length."""
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
