"""Rows of several samplings as one."""

from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from guerdon.batch.samples import Samples, TokenRows
from guerdon.errors import GuerdonError


def joined(parts: Sequence[Samples]) -> Samples:
    """The rows of all parts, one part after the other; rows of one prompt share the partition 'prompt' across parts.

    Token rows are padded to the widest part. A payload is a tensor, a list, token rows, or a dataclass whose tensors
    have a row a leading index and whose other fields are the same in all parts. Columns and made_by are those that
    every part has, the first part's versions winning; episodes and other partitions are local to a part and left out.
    Raises GuerdonError where there is no part or payloads cannot be joined.
    """
    if not parts:
        raise GuerdonError("joined needs at least one part, but none came.")
    first = parts[0]

    def each(name: str) -> Any:
        held = [getattr(p, name) for p in parts]
        if any(x is None for x in held):
            return None
        return torch.cat(held) if isinstance(held[0], Tensor) else [v for x in held for v in x]

    shared = [k for k in first.columns if all(k in p.columns for p in parts)]
    return Samples(
        _payload([p.payload for p in parts]),
        [x for p in parts for x in p.prompts],
        each("responses"),
        None,
        each("actor"),
        each("terminated"),
        each("truncated"),
        {k: [v for p in parts for v in p.columns[k]] for k in shared},
        made_by={k: v for p in reversed(parts) for k, v in p.made_by.items()},
    )


def _payload(payloads: Sequence[Any]) -> Any:
    first = payloads[0]
    if any(type(p) is not type(first) for p in payloads):
        kinds = ", ".join(sorted({type(p).__name__ for p in payloads}))
        raise GuerdonError(f"Payloads of one kind can be joined, but {kinds} came.")
    if isinstance(first, TokenRows):
        width = max(p.width for p in payloads)
        payloads = [_widened(p, width) for p in payloads]
        first = payloads[0]
    if isinstance(first, Tensor):
        return torch.cat(list(payloads))
    if isinstance(first, list):
        return [x for p in payloads for x in p]
    if not is_dataclass(first) or isinstance(first, type):
        raise GuerdonError(
            f"A payload of type {type(first).__name__} cannot be joined; make it a dataclass of tensors."
        )
    return replace(first, **{f.name: _field(f.name, [getattr(p, f.name) for p in payloads]) for f in fields(first)})


def _field(name: str, held: Sequence[Any]) -> Any:
    if isinstance(held[0], Tensor):
        return torch.cat(list(held))
    if isinstance(held[0], Mapping) and all(x.keys() == held[0].keys() for x in held):
        return {k: torch.cat([x[k] for x in held]) for k in held[0]}
    if any(x != held[0] for x in held):
        raise GuerdonError(f"Payloads can be joined where {name!r} is the same in all, but {held[0]!r} differs.")
    return held[0]


def _widened(rows: TokenRows, width: int) -> TokenRows:
    more = (0, width - rows.width)

    def wide(x: Tensor, fill: float) -> Tensor:
        return pad(x, more, value=fill)

    return TokenRows(
        wide(rows.ids, 0),
        wide(rows.attention, 0),
        wide(rows.response, 0),
        None if rows.logp is None else wide(rows.logp, 0.0),
        rows.temperature,
        {k: wide(v, -1) for k, v in rows.spans.items()},
    )
