"""Token rows from lists of ids: padding is a choice made here and told by the attention mask alone, never by an id."""

from collections.abc import Sequence
from typing import Any, Literal

import torch

from guerdon.batch import TokenRows
from guerdon.errors import GuerdonError
from guerdon.worlds.text.encoding import Encoded


def token_rows(
    prompts: Sequence[Sequence[int]],
    responses: Sequence[Sequence[int]],
    pad_id: int = 0,
    side: Literal["left", "right"] = "right",
    device: str | torch.device = "cpu",
) -> TokenRows:
    """Rows [N,L] of prompt then response, padded on ``side`` to the longest; ``pad_id`` may be any id, the
    end-of-sequence too, for padding is told by ``attention`` alone. Either part may be empty. Raises GuerdonError on
    unequal counts."""
    if len(prompts) != len(responses):
        raise GuerdonError(f"token_rows needs a response a prompt, but {len(prompts)} and {len(responses)} came.")
    if side not in ("left", "right"):
        raise GuerdonError(f"token_rows pads on the 'left' or the 'right', but {side!r} came.")
    before = torch.tensor([len(p) for p in prompts], dtype=torch.int64)
    total = before + torch.tensor([len(r) for r in responses], dtype=torch.int64)
    width = int(total.max()) if len(total) else 0
    start = torch.zeros_like(total) if side == "right" else width - total
    at = torch.arange(width)
    attention = (at >= start[:, None]) & (at < (start + total)[:, None])
    response = attention & (at >= (start + before)[:, None])
    ids = torch.full(attention.shape, pad_id, dtype=torch.int64)
    ids[attention] = torch.tensor([i for p, r in zip(prompts, responses, strict=True) for i in (*p, *r)]).long()
    return TokenRows(ids.to(device), attention.to(device), response.to(device))


def pad_rows(
    rows: Sequence[Encoded],
    tokenizer: Any = None,
    side: Literal["left", "right"] = "right",
    device: str | torch.device = "cpu",
) -> TokenRows:
    """Encoded rows as one block [N,L]; the pad id is the tokenizer's, or 0 where it has none: no position reads it."""
    pad = getattr(tokenizer, "pad_token_id", None)
    return token_rows([r.prompt for r in rows], [r.response for r in rows], 0 if pad is None else pad, side, device)


def right_padded(rows: TokenRows) -> TokenRows:
    """The same rows with all real tokens moved to the front and the padding behind, so that positions count from 0 in
    any model."""
    order = torch.argsort((~rows.attention).to(torch.int8), dim=1, stable=True)
    width = int(rows.attention.sum(1).max()) if len(rows) else 0
    ids, attention, response = (x.gather(1, order)[:, :width] for x in (rows.ids, rows.attention, rows.response))
    return TokenRows(ids, attention, response)
