"""Hidden states at the ends of rows, each prompt computed once for all its responses.

On a CPU by ``trees``, elsewhere by ``worlds.text.forest``, whose few large calls suit a GPU. The slow twin of both is
the backbone's own forward pass; ``packs_alike`` says where they may stand in for it.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from guerdon.rewards.models import trees
from guerdon.worlds.text import Encoded, token_rows
from guerdon.worlds.text.forest import states, supported
from guerdon.worlds.text.heads import unwrapped
from guerdon.worlds.text.packs import packs

_FIXED_ROTARY = ("default", "linear", "llama3")
"""Rotary tables that do not depend on how long the rows beside a row are."""
_PACKS_AT_ONCE = 8
"""Packs are cut from this many packs' worth of rows, so that what lies side by side is of similar length."""


def last_states(backbone: Any, rows: Sequence[Encoded], tokens_at_once: int) -> Tensor:
    """Last hidden states [N,D] of each row's last token, without gradient. No row may be empty."""
    body = unwrapped(backbone)
    by = trees.last_states if body.device.type == "cpu" else by_packs
    return by(body, rows, tokens_at_once)


@torch.no_grad()
def packs_alike(backbone: Any) -> bool:
    """Whether ``last_states`` gives what the backbone gives (in eval mode): probed on two responses to one prompt and
    on rows that stand alone."""
    body = unwrapped(backbone)
    if not supported(body) or getattr(body.rotary_emb, "rope_type", "") not in _FIXED_ROTARY:
        return False
    ids = [i % body.config.vocab_size for i in range(8)]
    rows = [Encoded(tuple(ids[:3]), tuple(ids[3:n])) for n in (5, 8)]
    rows += [Encoded((ids[1], ids[5]), (ids[2],)), Encoded((), (ids[4],))]
    quick = last_states(backbone, rows, 64)
    slow = [
        backbone(input_ids=torch.tensor([[*r.prompt, *r.response]], device=body.device)).last_hidden_state[0, -1]
        for r in rows
    ]
    # States are normed, so a part of the model that this way does not know of moves them by far more than rounding.
    rounding = 1e-4 if body.dtype == torch.float32 else 5e-2
    return torch.allclose(quick.float(), torch.stack(slow).float(), rtol=rounding, atol=rounding)


@torch.no_grad()
def by_packs(body: Any, rows: Sequence[Encoded], tokens_at_once: int) -> Tensor:
    """``last_states`` by packs of at most ``tokens_at_once`` tokens (one prompt's rows at least)."""
    out = torch.empty(len(rows), body.config.hidden_size, device=body.device, dtype=body.dtype)
    parts = [_parted(r) for r in rows]
    alone = [i for i, (before, _) in enumerate(parts) if not before]
    if alone:  # rows of one token, which nothing stands before
        ids = torch.tensor([parts[i][1] for i in alone], device=body.device)
        out[alone] = body(input_ids=ids, use_cache=False).last_hidden_state[:, -1]
    for chunk in _neighbours(parts, _PACKS_AT_ONCE * tokens_at_once):
        block = token_rows([parts[i][0] for i in chunk], [parts[i][1] for i in chunk], device=body.device)
        at = torch.tensor(chunk, device=body.device)
        for pack in packs(block, tokens_at_once):
            out[at[pack.row[pack.last]]] = states(body, pack, pack.own[pack.last])
    return out


def _parted(row: Encoded) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Prompt and response; where one is empty, all but the last token and the last."""
    if row.prompt and row.response:
        return row.prompt, row.response
    whole = (*row.prompt, *row.response)
    return whole[:-1], whole[-1:]


def _neighbours(parts: Sequence[tuple[tuple[int, ...], tuple[int, ...]]], tokens: int) -> Iterator[list[int]]:
    """Numbers of rows of two tokens or more by the length of their prompt, equal prompts together, in chunks of at most
    ``tokens`` padded tokens (one row at least)."""
    chosen = [i for i, (before, _) in enumerate(parts) if before]
    chunk: list[int] = []
    widest = 0
    for i in sorted(chosen, key=lambda i: (len(parts[i][0]), parts[i][0], len(parts[i][1]))):
        size = len(parts[i][0]) + len(parts[i][1])
        if chunk and max(widest, size) * (len(chunk) + 1) > tokens:
            yield chunk
            chunk, widest = [], 0
        chunk.append(i)
        widest = max(widest, size)
    if chunk:
        yield chunk
