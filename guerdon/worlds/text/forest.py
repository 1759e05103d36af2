"""Hidden states of packed rows through the modules of a Llama-shaped model: linear maps see tokens alone, attention
sees tiles, and the last layer is finished only where a state is read.

It is used only where ``heads.find_head`` finds it equal to the model itself, which is its slow twin.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from guerdon.worlds.text.llama import SHAPED, turned
from guerdon.worlds.text.packs import Pack, Tile


def supported(body: Any) -> bool:
    """Whether a backbone has the shape this file reads: full attention everywhere, without dropout or gradient
    checkpointing where it trains."""
    config = getattr(body, "config", None)
    if type(body).__name__ not in SHAPED or config is None:
        return False
    kinds = set(getattr(config, "layer_types", None) or ())
    quiet = not getattr(config, "attention_dropout", 0.0) and not any(
        getattr(m, "gradient_checkpointing", False) for m in body.layers
    )
    return kinds <= {"full_attention"} and quiet


def states(body: Any, pack: Pack, read: Tensor) -> Tensor:
    """Last hidden states [m,D] of the tokens with the flat numbers ``read`` [m], repeats allowed. Carries gradient.

    body: a backbone that is ``supported``. The last layer is finished for the tokens read alone.
    """
    x = body.embed_tokens(pack.ids)
    cos, sin = body.rotary_emb(x, pack.position[None])
    cos, sin = cos[0, :, None], sin[0, :, None]
    needed, back = torch.unique(read, return_inverse=True)
    everywhere = torch.arange(len(x), device=x.device)
    layers = list(body.layers)
    for i, layer in enumerate(layers):
        over = i + 1 == len(layers)
        asked, tiles = (needed, _covering(pack, needed)) if over else (everywhere, pack.tiles)
        attention = layer.self_attn
        size = attention.head_dim
        normed = layer.input_layernorm(x)
        k = turned(attention.k_proj(normed).view(len(x), -1, size), cos, sin)
        v = attention.v_proj(normed).view(len(x), -1, size)
        if over:
            x, normed, cos, sin = x[asked], normed[asked], cos[asked], sin[asked]
        q = turned(attention.q_proj(normed).view(len(x), -1, size), cos, sin)
        x = x + attention.o_proj(_attend(q, k, v, asked, len(everywhere), tiles, attention.scaling).flatten(1))
        x = x + layer.mlp(layer.post_attention_layernorm(x))
    return body.norm(x)[back]


def _covering(pack: Pack, needed: Tensor) -> tuple[Tile, ...]:
    """The final tiles where they hold every needed token as a query, else all tiles."""
    held = torch.zeros(len(pack.ids), dtype=torch.bool, device=needed.device)
    for tile in pack.final:
        held[tile.queries[tile.real]] = True
    return pack.final if bool(held[needed].all()) else pack.tiles


def _attend(
    q: Tensor, k: Tensor, v: Tensor, asked: Tensor, total: int, tiles: tuple[Tile, ...], scale: float
) -> Tensor:
    """[n,heads,D]: what the tokens ``asked`` [n], whose queries q holds, see of all ``total`` tokens' keys."""
    number = torch.zeros(total, dtype=torch.int64, device=asked.device)
    number[asked] = torch.arange(len(asked), device=asked.device)
    kept = torch.zeros(total, dtype=torch.bool, device=asked.device)
    kept[asked] = True
    parts, places = [], []
    for tile in tiles:
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
        real = tile.real & kept[tile.queries]
        parts.append(seen.transpose(1, 2)[real])
        places.append(number[tile.queries[real]])
    place = torch.cat(places)
    order = torch.empty_like(place)
    order[place] = torch.arange(len(place), device=place.device)
    return torch.cat(parts).index_select(0, order)


def _heads(x: Tensor, slots: Tensor) -> Tensor:
    """[B,heads,W,D] of flat [n,heads,D] at the numbers ``slots`` [B,W]."""
    return x.index_select(0, slots.reshape(-1)).view(*slots.shape, *x.shape[1:]).transpose(1, 2)
