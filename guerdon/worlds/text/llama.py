"""The decoder of Llama-shaped models over transformers' own modules, for sampling small models fast.

At small sizes most of a decoding step is transformers' bookkeeping and reading the cache; this does the same arithmetic
with a preallocated cache that holds every prompt once, whatever the number of its rows. It is used only where
``heads.find_head`` finds it equal to the model itself, which is its slow twin.
"""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from guerdon.worlds.text.rotary import turned

SHAPED = ("LlamaModel", "Qwen2Model")
_ROTARY = ("default", "linear", "llama3")


@dataclass
class LlamaCache:
    """Keys and values of P prompts of L tokens, and of the tokens that rows have after them. It grows in place.

    Every prompt has m slots, one for each of its rows. prompts: (keys, values) of every layer, each [P,G,L,D] with G
    key-value heads; after: likewise, each [P,G,m,room,D], of which the first ``used`` are filled. bias: [P,1,1,L], 0 or
    −inf on padding, None without padding. slot: int64 [n], the slot of each row among P·m, None where row i has slot i.
    cos, sin: rotary tables [L + room,D].
    """

    cos: Tensor
    sin: Tensor
    prompts: list[tuple[Tensor, Tensor]]
    after: list[tuple[Tensor, Tensor]]
    bias: Tensor | None = None
    slot: Tensor | None = None
    used: int = 0

    def batch_select_indices(self, rows: Tensor) -> None:
        """Keep the rows with these numbers, in this order, repeats allowed."""
        count, slots = self.prompts[0][0].shape[0], self.after[0][0].shape[2]
        old = (torch.arange(count * slots, device=rows.device) if self.slot is None else self.slot)[rows]
        kept, prompt, size = torch.unique(old // slots, return_inverse=True, return_counts=True)
        order, most = torch.argsort(prompt, stable=True), int(size.max())
        rank = torch.empty_like(order)
        rank[order] = torch.arange(len(order), device=rows.device) - (size.cumsum(0) - size)[prompt[order]]

        def moved(x: Tensor) -> Tensor:
            new = x.new_empty(len(kept), x.shape[1], most, *x.shape[3:])
            if self.used:
                new[prompt, :, rank, : self.used] = x[old // slots, :, old % slots, : self.used]
            return new

        self.after = [(moved(k), moved(v)) for k, v in self.after]
        if len(kept) < count:
            self.prompts = [(k[kept], v[kept]) for k, v in self.prompts]
            self.bias = None if self.bias is None else self.bias[kept]
        slot = prompt * most + rank
        dense = len(slot) == len(kept) * most and torch.equal(slot, torch.arange(len(slot), device=slot.device))
        self.slot = None if dense else slot

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """[n,H,D]: what the queries q [n,H,D], already scaled, see of their prompts, of the tokens after them and of
        these, whose keys and values k, v [n,G,D] are stored at ``used``.

        A prompt's keys are read once for all its rows: that is one product of [m,D] by [D,L] instead of m of [1,D].
        """
        (keys, values), (own_keys, own_values) = self.prompts[layer], self.after[layer]
        count, groups, slots, _, size = own_keys.shape
        end = self.used + 1

        def placed(x: Tensor) -> Tensor:
            if self.slot is not None:
                x = x.new_zeros(count * slots, *x.shape[1:]).index_copy_(0, self.slot, x)
            return x.reshape(count, slots, groups, -1, size).transpose(1, 2)

        own_keys[:, :, :, self.used] = placed(k)[:, :, :, 0]
        own_values[:, :, :, self.used] = placed(v)[:, :, :, 0]
        q = placed(q)
        together = (count, groups, -1, q.shape[-1])
        before = q.reshape(together) @ keys.transpose(-1, -2)
        if self.bias is not None:
            before += self.bias
        length = before.shape[-1]
        scores = torch.cat([before.view(*q.shape[:-1], length), q @ own_keys[..., :end, :].transpose(-1, -2)], -1)
        weight = scores.softmax(-1)
        seen = (weight[..., :length].reshape(*together[:-1], length) @ values).view(q.shape)
        seen = seen + weight[..., length:] @ own_values[..., :end, :]
        seen = seen.transpose(1, 2).reshape(count * slots, -1, size)
        return seen if self.slot is None else seen[self.slot]


def shaped(body: Any) -> bool:
    """Whether a backbone is Llama-shaped: full attention everywhere, and rotary tables of its own kind alone."""
    kinds = set(getattr(getattr(body, "config", None), "layer_types", None) or ())
    return type(body).__name__ in SHAPED and kinds <= {"full_attention"} and fixed_rotary(body)


def fixed_rotary(body: Any) -> bool:
    """Whether rotary tables, where a backbone has any, do not hang on how long the rows beside a row are. A short probe
    could not see that."""
    return getattr(getattr(body, "rotary_emb", None), "rope_type", "default") in _ROTARY


def supported(body: Any) -> bool:
    """Whether ``decode`` may read a backbone: Llama-shaped, float32."""
    return shaped(body) and next(body.parameters()).dtype == torch.float32


def decode(
    body: Any, ids: Tensor, mask: Tensor | None, position: Tensor, cache: LlamaCache | None, room: int
) -> tuple[Tensor, LlamaCache]:
    """(last hidden states [n,l,D], cache) after the tokens ids [n,l] at position [n,l].

    The first call reads the prompts and makes a cache for ``room`` tokens a row; later calls hold one token a row.
    mask: bool, False on padding, or None. The first call's [n,l] says which prompt tokens are real; later tokens all
    are, so that later calls do not read it.
    """
    n, length = ids.shape
    x = body.embed_tokens(ids)
    first = cache is None
    if cache is None:
        cos, sin = body.rotary_emb(x, torch.arange(room, device=x.device)[None])
        cache = LlamaCache(cos[0], sin[0], [], [])
        allowed = _allowed(mask)
        if mask is not None:
            cache.bias = x.new_zeros(n, 1, 1, length).masked_fill(~mask[:, None, None], -torch.inf)
    cos, sin = cache.cos[position][:, :, None], cache.sin[position][:, :, None]
    for i, layer in enumerate(body.layers):
        attention = layer.self_attn
        size = attention.head_dim
        normed = _norm(x, layer.input_layernorm)
        q = attention.q_proj(normed).view(n, length, -1, size)
        k = attention.k_proj(normed).view(n, length, -1, size)
        v = attention.v_proj(normed).view(n, length, -1, size)
        heads = q.shape[2]
        both = turned(torch.cat([q, k], 2), cos, sin)
        q, k = both[:, :, :heads], both[:, :, heads:]
        if first:
            q, k, v = q.transpose(1, 2), k.transpose(1, 2).contiguous(), v.transpose(1, 2).contiguous()
            seen = F.scaled_dot_product_attention(
                q, k, v, allowed, is_causal=allowed is None, scale=attention.scaling, enable_gqa=heads != k.shape[1]
            ).transpose(1, 2)
            cache.prompts.append((k, v))
            own = (n, k.shape[1], 1, room - length, size)
            cache.after.append((k.new_empty(own), k.new_empty(own)))
        else:
            seen = cache.attend(i, q[:, 0] * attention.scaling, k[:, 0], v[:, 0])
        x = x + attention.o_proj(seen.reshape(n, length, -1))
        normed = _norm(x, layer.post_attention_layernorm)
        mlp = layer.mlp
        x = x + mlp.down_proj(mlp.act_fn(mlp.gate_proj(normed)) * mlp.up_proj(normed))
    cache.used += 0 if first else 1
    return _norm(x, body.norm), cache


def _allowed(mask: Tensor | None) -> Tensor | None:
    """bool [n,1,l,l]: which tokens each token of a prompt sees, None where nothing is padding. A padded one sees
    itself, so that no row of weights is empty."""
    if mask is None:
        return None
    eye = torch.eye(mask.shape[1], dtype=torch.bool, device=mask.device)
    return (mask[:, None, None] & torch.ones_like(eye).tril()) | eye


def _norm(x: Tensor, norm: Any) -> Tensor:
    return F.rms_norm(x, norm.weight.shape, norm.weight, norm.variance_epsilon)
