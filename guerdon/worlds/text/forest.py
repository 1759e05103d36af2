"""Hidden states of packed rows through the modules of a Llama-shaped model: linear maps see tokens alone, attention
sees tiles, and the last layer is finished only where a state is read.

It is used only where ``heads.find_head`` finds it equal to the model itself, which is its slow twin.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from guerdon.worlds.text.llama import SHAPED, turned
from guerdon.worlds.text.packs import Pack, Tiles


def supported(body: Any) -> bool:
    """Whether a backbone has the shape this file reads: full attention everywhere, without dropout or gradient
    checkpointing where it trains."""
    config = getattr(body, "config", None)
    if type(body).__name__ not in SHAPED or config is None:
        return False
    kinds = set(getattr(config, "layer_types", None) or ())
    quiet = not getattr(config, "attention_dropout", 0.0) and not getattr(body, "is_gradient_checkpointing", False)
    return kinds <= {"full_attention"} and quiet


def states(body: Any, pack: Pack, read: Tensor) -> Tensor:
    """Last hidden states [m,D] of the tokens with the flat numbers ``read`` [m], repeats allowed. Carries gradient.

    body: a backbone that is ``supported``.
    """
    x = body.embed_tokens(pack.ids)
    cos, sin = body.rotary_emb(x, pack.position[None])
    cos, sin = cos[0, :, None], sin[0, :, None]
    needed, back = torch.unique(read, return_inverse=True)
    mask = None if pack.branches is None else _branch_mask(pack, x.dtype)
    for i, layer in enumerate(body.layers):
        attention = layer.self_attn
        size = attention.head_dim
        normed = layer.input_layernorm(x)
        q = turned(attention.q_proj(normed).view(len(x), -1, size), cos, sin)
        k = turned(attention.k_proj(normed).view(len(x), -1, size), cos, sin)
        v = attention.v_proj(normed).view(len(x), -1, size)
        seen = _attend(q, k, v, pack, mask, attention.scaling).flatten(1)
        if i + 1 == len(body.layers):
            x, seen = x[needed], seen[needed]
        x = x + attention.o_proj(seen)
        x = x + layer.mlp(layer.post_attention_layernorm(x))
    return body.norm(x)[back]


def _attend(q: Tensor, k: Tensor, v: Tensor, pack: Pack, mask: Tensor | None, scale: float) -> Tensor:
    """[M,heads,D]: trunk tokens see their trunk up to themselves; branch tokens their trunk and their branch up to
    themselves."""
    grouped = q.shape[1] != k.shape[1]
    trunks, branches = pack.trunks, pack.branches
    keys, values = _tiled(k, trunks), _tiled(v, trunks)
    # What stands right of a token is never seen, so the padding of trunks needs no mask.
    seen = F.scaled_dot_product_attention(
        _heads(_tiled(q, trunks)), _heads(keys), _heads(values), is_causal=True, scale=scale, enable_gqa=grouped
    )
    out = [_untiled(seen, trunks)]
    if branches is not None:
        keys = torch.cat([keys.index_select(0, pack.parent), _tiled(k, branches)], 1)
        values = torch.cat([values.index_select(0, pack.parent), _tiled(v, branches)], 1)
        seen = F.scaled_dot_product_attention(
            _heads(_tiled(q, branches)), _heads(keys), _heads(values), attn_mask=mask, scale=scale, enable_gqa=grouped
        )
        out.append(_untiled(seen, branches))
    return torch.cat(out)


def _branch_mask(pack: Pack, dtype: torch.dtype) -> Tensor:
    """[B,1,W,P+W], 0 where a branch token may look and −inf elsewhere; padding looks where a token might."""
    assert pack.branches is not None
    real = pack.trunks.real[pack.parent]
    width = pack.branches.real.shape[1]
    causal = torch.ones(width, width, dtype=torch.bool, device=real.device).tril()
    allowed = torch.cat([real[:, None].expand(-1, width, -1), causal.expand(len(real), -1, -1)], 2)
    return torch.zeros(allowed.shape, dtype=dtype, device=real.device).masked_fill_(~allowed, -torch.inf)[:, None]


def _tiled(x: Tensor, tiles: Tiles) -> Tensor:
    """[B,W,heads,D] of flat [M,heads,D]; padding repeats token 0."""
    return x.index_select(0, tiles.slots.reshape(-1)).view(*tiles.slots.shape, *x.shape[1:])


def _heads(x: Tensor) -> Tensor:
    return x.transpose(1, 2)


def _untiled(x: Tensor, tiles: Tiles) -> Tensor:
    """The tokens [·,heads,D] of tiles [B,heads,W,D], in flat order."""
    return x.transpose(1, 2)[tiles.real]
