"""Hidden states of packed rows through any backbone that takes position ids and a mask: a pack is one row of M tokens,
and a mask [M,M] says which of them each token sees.

For models that ``forest.states`` cannot read. Attention looks at all pairs of a pack's tokens, so packs are small. It
is used only where ``heads.find_head`` finds it equal to the model itself, which is its slow twin.
"""

from typing import Any

import torch
from torch import Tensor

from guerdon.worlds.text.packs import Pack

MOST = 2048
"""Most tokens of a pack, and of a row that is read so: a mask of 2048² numbers is what a device carries lightly."""

CPU_TOKENS = 512
"""Most tokens of a pack on a CPU, where pairs that are never seen cost time."""

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
    if type(body).__name__ not in _SHAPED or not plain:
        return 0
    kinds = set(getattr(config, "layer_types", None) or ())
    return min(MOST, getattr(config, "sliding_window", None) or MOST) if kinds <= _KINDS else 0


def states(body: Any, pack: Pack, read: Tensor) -> Tensor:
    """Last hidden states [m,D] of the tokens with the flat numbers ``read`` [m], repeats allowed. Carries gradient.

    body: a backbone whose ``reach`` the pack's rows do not pass.
    """
    unseen = torch.zeros(len(pack.ids), len(pack.ids), dtype=body.dtype, device=pack.ids.device)
    unseen.masked_fill_(~_seen(pack), -torch.inf)
    hidden = body(
        input_ids=pack.ids[None],
        position_ids=pack.position[None],
        attention_mask=unseen[None, None],
        use_cache=False,
    )[0]
    return hidden[0, read]


def _seen(pack: Pack) -> Tensor:
    """bool [M,M]: whether token i sees token j."""
    seen = torch.zeros(len(pack.ids), len(pack.ids), dtype=torch.bool, device=pack.ids.device)
    for s in pack.segments:
        own = slice(s.start, s.stop)
        seen[own, own] = torch.ones(s.stop - s.start, s.stop - s.start, dtype=torch.bool, device=seen.device).tril()
        seen[own, s.trunk : s.trunk + s.before] = True
    return seen
