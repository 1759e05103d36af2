"""The decoder of Llama-shaped models over transformers' own modules, for sampling small models fast.

At small sizes most of a decoding step is transformers' bookkeeping; this does the same arithmetic with a preallocated
cache. It is used only where ``heads.find_head`` finds it equal to the model itself, which is its slow twin.
"""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

_SHAPED = ("LlamaModel", "Qwen2Model")
_ROTARY = ("default", "linear", "llama3")


@dataclass
class LlamaCache:
    """Keys and values [n,heads,room,D] of every layer, of which the first ``used`` are filled, and rotary tables
    [room,D]. Mutable: it grows in place."""

    keys: list[Tensor]
    values: list[Tensor]
    cos: Tensor
    sin: Tensor
    used: int = 0

    def batch_select_indices(self, rows: Tensor) -> None:
        """Keep the rows with these numbers, in this order, repeats allowed."""
        for held in (self.keys, self.values):
            for i, x in enumerate(held):
                held[i] = x.new_empty(len(rows), *x.shape[1:])
                held[i][:, :, : self.used] = x[rows, :, : self.used]


def supported(body: Any) -> bool:
    """Whether a backbone has the shape this file decodes: full attention everywhere, rotary tables that do not depend
    on the length, float32."""
    if type(body).__name__ not in _SHAPED or next(body.parameters()).dtype != torch.float32:
        return False
    config = body.config
    kinds = set(getattr(config, "layer_types", None) or ())
    return kinds <= {"full_attention"} and getattr(body.rotary_emb, "rope_type", "") in _ROTARY


def decode(
    body: Any, ids: Tensor, mask: Tensor | None, position: Tensor, cache: LlamaCache | None, room: int
) -> tuple[Tensor, LlamaCache]:
    """(last hidden states [n,l,D], cache) after the tokens ids [n,l] at position [n,l].

    mask: bool [n, tokens so far with these], False on padding, or None. The first call makes a cache for ``room``
    tokens a row and may hold many tokens a row; later calls hold one.
    """
    n, length = ids.shape
    x = body.embed_tokens(ids)
    if cache is None:
        cache = _empty(body, n, room, x)
    end = cache.used + length
    allowed, causal = None, mask is None and length > 1
    if mask is not None:
        allowed = mask[:, None, None, :end]
        if length > 1:
            eye = torch.eye(length, dtype=torch.bool, device=ids.device)
            # A padded query sees itself, so that no row of weights is empty.
            allowed = (allowed & torch.ones_like(eye).tril()) | eye
    cos, sin = cache.cos[position][:, None], cache.sin[position][:, None]
    for i, layer in enumerate(body.layers):
        attention = layer.self_attn
        size = attention.head_dim
        normed = _norm(x, layer.input_layernorm)
        q = attention.q_proj(normed).view(n, length, -1, size).transpose(1, 2)
        k = attention.k_proj(normed).view(n, length, -1, size).transpose(1, 2)
        cache.values[i][:, :, cache.used : end] = attention.v_proj(normed).view(n, length, -1, size).transpose(1, 2)
        heads = q.shape[1]
        both = torch.cat([q, k], 1)
        half = torch.cat([-both[..., size // 2 :], both[..., : size // 2]], -1)
        both = both * cos + half * sin
        cache.keys[i][:, :, cache.used : end] = both[:, heads:]
        seen = F.scaled_dot_product_attention(
            both[:, :heads],
            cache.keys[i][:, :, :end],
            cache.values[i][:, :, :end],
            attn_mask=allowed,
            is_causal=causal,
            scale=attention.scaling,
            enable_gqa=heads != k.shape[1],
        )
        x = x + attention.o_proj(seen.transpose(1, 2).reshape(n, length, -1))
        normed = _norm(x, layer.post_attention_layernorm)
        mlp = layer.mlp
        x = x + mlp.down_proj(mlp.act_fn(mlp.gate_proj(normed)) * mlp.up_proj(normed))
    cache.used = end
    return _norm(x, body.norm), cache


def _norm(x: Tensor, norm: Any) -> Tensor:
    return F.rms_norm(x, norm.weight.shape, norm.weight, norm.variance_epsilon)


def _empty(body: Any, n: int, room: int, like: Tensor) -> LlamaCache:
    config = body.config
    size = body.layers[0].self_attn.head_dim
    cos, sin = body.rotary_emb(like, torch.arange(room, device=like.device)[None])
    shape = (n, config.num_key_value_heads, room, size)
    keys = [like.new_empty(shape) for _ in body.layers]
    return LlamaCache(keys, [like.new_empty(shape) for _ in body.layers], cos[0], sin[0])
