"""Hidden states at the ends of rows by ``worlds.text.forest``: no padding, each prompt computed once for all its
responses, the last layer only where a state is read. The slow twin is the backbone's own forward pass; ``packs_alike``
says where this may stand in for it.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from guerdon.worlds.text import Encoded, token_rows
from guerdon.worlds.text.forest import states, supported
from guerdon.worlds.text.heads import unwrapped
from guerdon.worlds.text.packs import packs

_PACKS_AT_ONCE = 32
"""Packs are cut from about this many packs' worth of rows."""

Parted = tuple[tuple[int, ...], tuple[int, ...]]
"""Prompt and response of a row; no prompt only where the row has one token."""


def last_states(backbone: Any, rows: Sequence[Encoded], tokens_at_once: int) -> Tensor:
    """Last hidden states [N,D] of each row's last token, by packs of at most ``tokens_at_once`` tokens (one row at
    least). Carries gradient. N > 0, and no row may be empty."""
    body = unwrapped(backbone)
    parts = [_parted(r) for r in rows]
    found, number = [], []
    alone = [i for i, (before, _) in enumerate(parts) if not before]
    if alone:  # rows of one token, which nothing stands before
        ids = torch.tensor([parts[i][1] for i in alone], device=body.device)
        found.append(body(input_ids=ids, use_cache=False).last_hidden_state[:, -1])
        number.append(torch.tensor(alone, device=body.device))
    for chunk in _neighbours(parts, _PACKS_AT_ONCE * tokens_at_once):
        block = token_rows([parts[i][0] for i in chunk], [parts[i][1] for i in chunk], device=body.device)
        at = torch.tensor(chunk, device=body.device)
        for pack in packs(block, tokens_at_once):
            found.append(states(body, pack, pack.own[pack.last]))
            number.append(at[pack.row[pack.last]])
    return torch.cat(found)[torch.argsort(torch.cat(number))]


@torch.no_grad()
def packs_alike(backbone: Any) -> bool:
    """Whether ``last_states`` gives what the backbone gives (in eval mode): probed on two responses to one prompt and
    on rows that stand alone."""
    body = unwrapped(backbone)
    if not supported(body):
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


def passes(pairs: Sequence[tuple[Encoded, Encoded]], tokens_at_once: int) -> Iterator[list[int]]:
    """Numbers of pairs in passes of at most ``tokens_at_once`` packed tokens (one pair at least), in their order; a
    prompt that both sides have counts once."""
    part: list[int] = []
    tokens = 0
    for i, (a, b) in enumerate(pairs):
        size = len(a) + len(b) - (len(a.prompt) if a.prompt == b.prompt else 0)
        if part and tokens + size > tokens_at_once:
            yield part
            part, tokens = [], 0
        part.append(i)
        tokens += size
    if part:
        yield part


def _parted(row: Encoded) -> Parted:
    """Prompt and response; where one is empty, all but the last token and the last."""
    if row.prompt and row.response:
        return row.prompt, row.response
    whole = (*row.prompt, *row.response)
    return whole[:-1], whole[-1:]


def _neighbours(parts: Sequence[Parted], tokens: int) -> Iterator[list[int]]:
    """Numbers of rows of two tokens or more by the length of their prompt, in chunks of at most ``tokens`` padded
    tokens (one prompt's rows at least, so that no prompt is computed twice)."""
    chosen = [i for i, (before, _) in enumerate(parts) if before]
    chunk: list[int] = []
    widest = 0
    for i in sorted(chosen, key=lambda i: (len(parts[i][0]), parts[i][0], len(parts[i][1]))):
        size = len(parts[i][0]) + len(parts[i][1])
        new = chunk and parts[chunk[-1]][0] != parts[i][0]
        if new and max(widest, size) * (len(chunk) + 1) > tokens:
            yield chunk
            chunk, widest = [], 0
        chunk.append(i)
        widest = max(widest, size)
    if chunk:
        yield chunk
