"""Hidden states of packed rows through any backbone that takes position ids and a mask: a tree of a pack is a row, and
the mask says which of its tokens each token sees.

For models that ``forest.states`` cannot read. It is used only where ``heads.find_head`` finds it equal to the model
itself, which is its slow twin.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from guerdon.worlds.text.llama import fixed_rotary
from guerdon.worlds.text.packs import Pack, Segment

_Tree = list[Segment]

MOST = 2048
"""Most tokens of a pack, and of a row that is read so: a mask of 2048² numbers is what a device carries lightly."""

CPU_TOKENS = 512
"""Most tokens of a pack on a CPU: small passes stay in its caches."""

_WIDER, _SLACK = 1.25, 16
"""Trees up to this much longer than the shortest lie beside it: padding costs work, a call more costs calls."""

_SHAPED = (
    "GPT2Model",
    "GPTNeoXModel",
    "GemmaModel",
    "Gemma2Model",
    "LlamaModel",
    "MistralModel",
    "Olmo2Model",
    "Phi3Model",
    "Qwen2Model",
    "Qwen3Model",
    "Starcoder2Model",
)
_KINDS = {"full_attention", "sliding_attention"}


def reach(body: Any) -> int:
    """Longest row that may be read so, 0 where none may. A sliding window is not seen by rows within it, and longer
    rows are left to the model itself."""
    config = getattr(body, "config", None)
    plain = getattr(config, "_attn_implementation", None) in ("eager", "sdpa")
    if type(body).__name__ not in _SHAPED or not plain or not fixed_rotary(body):
        return 0
    kinds = set(getattr(config, "layer_types", None) or ())
    return min(MOST, getattr(config, "sliding_window", None) or MOST) if kinds <= _KINDS else 0


def states(body: Any, pack: Pack, read: Tensor) -> Tensor:
    """Last hidden states [m,D] of the tokens with the flat numbers ``read`` [m], repeats allowed. Carries gradient.

    body: a backbone whose ``reach`` the pack's rows do not pass.
    """
    parts, tokens = [], []
    for trees in _alike(pack.segments):
        at, mask = _block(trees, pack.ids.device)
        real = at >= 0
        hidden = body(
            input_ids=pack.ids[at.clamp(min=0)],
            position_ids=pack.position[at.clamp(min=0)],
            attention_mask=torch.zeros(mask.shape, dtype=body.dtype, device=at.device).masked_fill_(~mask, -torch.inf),
            use_cache=False,
        )[0]
        parts.append(hidden[real])
        tokens.append(at[real])
    order = torch.empty_like(pack.ids)
    order[torch.cat(tokens)] = torch.arange(len(pack.ids), device=order.device)
    return torch.cat(parts)[order[read]]


def _alike(segments: Sequence[Segment]) -> Iterator[list[_Tree]]:
    """Trees of similar size, each with its trunk first."""
    trees: dict[int, _Tree] = {}
    for s in segments:
        trees.setdefault(s.trunk, []).append(s)
    part: list[_Tree] = []
    for tree in sorted(trees.values(), key=_size):
        if part and _size(tree) > _WIDER * _size(part[0]) + _SLACK:
            yield part
            part = []
        part.append(tree)
    yield part


def _size(tree: _Tree) -> int:
    return sum(s.stop - s.start for s in tree)


def _block(trees: Sequence[_Tree], device: torch.device) -> tuple[Tensor, Tensor]:
    """(int64 [G,W], the flat number of each token, -1 on padding; bool [G,1,W,W], whom each sees), a tree a row.
    Padding sees itself, so that no row of weights is empty."""
    width = max(map(_size, trees))
    at = torch.full((len(trees), width), -1)
    seen = torch.eye(width, dtype=torch.bool).expand(len(trees), 1, -1, -1).clone()
    triangle = torch.ones(width, width, dtype=torch.bool).tril()
    for g, tree in enumerate(trees):
        end = 0
        for s in tree:
            begin, end = end, end + s.stop - s.start
            at[g, begin:end] = torch.arange(s.start, s.stop)
            seen[g, 0, begin:end, begin:end] = triangle[: end - begin, : end - begin]
            seen[g, 0, begin:end, : s.before] = True
    return at.to(device), seen.to(device)
