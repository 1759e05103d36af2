"""Hidden states of packed rows through the modules of a Llama-shaped model: linear maps see tokens alone, attention
sees segments, the last layer is finished only where a state is read, and rows that are still carry no gradient.

It is used only where ``heads.find_head`` finds it equal to the model itself, which is its slow twin.
"""

from bisect import bisect_left
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from guerdon.worlds.text.llama import shaped
from guerdon.worlds.text.packs import Pack, Segment
from guerdon.worlds.text.rms import normed
from guerdon.worlds.text.rotary import turned
from guerdon.worlds.text.segments import Asked, by_segments
from guerdon.worlds.text.tiles import by_tiles

_STEP = 64


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
        self.own = [s for s in pack.segments if begin <= s.start < end]
        self.begin, self.n = begin, end - begin
        self.needed = needed[(needed >= begin) & (needed < end)]
        ids, position = (_filled(t[begin:end], _even(end - begin, t.device)) for t in (pack.ids, pack.position))
        with torch.set_grad_enabled(self.moves):
            self.x = body.embed_tokens(ids)
            cos, sin = body.rotary_emb(self.x, position[None])
            self.cos, self.sin = cos[0, :, None], sin[0, :, None]

    def through(self, layer: Any, before: Sequence[tuple[Tensor, Tensor]], last: bool) -> tuple[Tensor, Tensor]:
        """One layer; its keys and values [n,heads,D]. before: those of the earlier lanes. last: whether only needed
        tokens are asked for."""
        with torch.set_grad_enabled(self.moves):
            return self._through(layer, before, last)

    def _through(self, layer: Any, before: Sequence[tuple[Tensor, Tensor]], last: bool) -> tuple[Tensor, Tensor]:
        attention, x, cos, sin = layer.self_attn, self.x, self.cos, self.sin
        size, asked = attention.head_dim, [(s, s.start) for s in self.own]
        y = normed(layer.input_layernorm, x)
        k = turned(attention.k_proj(y).view(len(y), -1, size), cos, sin)
        v = attention.v_proj(y).view(len(y), -1, size)
        own = k[: self.n], v[: self.n]
        if last and not len(self.needed):  # still branches of one token: the trunk's last state predicts it
            return own
        if last:
            asked = _reaching(self.own, self.needed.tolist())
            at = torch.cat([torch.arange(first, s.stop, device=x.device) for s, first in asked])
            self.needed = torch.searchsorted(at, self.needed)
            at = _filled(at - self.begin, _even(len(at), x.device))
            x, y, cos, sin = (t[at] for t in (x, y, cos, sin))
        q = turned(attention.q_proj(y).view(len(y), -1, size), cos, sin)
        look = by_segments if x.device.type == "cpu" else by_tiles
        keys, values = (torch.cat(t) if before else t[-1] for t in zip(*before, (k, v), strict=True))
        x = _plus(x, attention.o_proj(look(q, keys, values, asked, attention.scaling).flatten(1)))
        self.x = _plus(x, layer.mlp(normed(layer.post_attention_layernorm, x)))
        return own

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
    """x [n] with zeros behind it, ``rows`` in all."""
    return x if rows == len(x) else torch.cat([x, x.new_zeros(rows - len(x))])


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
