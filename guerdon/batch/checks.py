"""Validation shared by the types: each check raises one sentence that names the object and the field."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from guerdon.errors import GuerdonError


def shape(owner: str, field: str, x: Any, *expected: int | None) -> None:
    """Raise unless ``x`` is a tensor of shape ``expected`` (None matches any size)."""
    if not isinstance(x, Tensor):
        raise GuerdonError(f"{owner}.{field} must be a tensor, but a {type(x).__name__} came.")
    got = tuple(x.shape)
    if len(got) != len(expected) or any(e is not None and e != g for e, g in zip(expected, got, strict=True)):
        want = "[" + ",".join("any" if e is None else str(e) for e in expected) + "]"
        raise GuerdonError(f"{owner}.{field} must have shape {want}, but {list(got)} came.")


def dtype(owner: str, field: str, x: Tensor, *expected: torch.dtype) -> None:
    """Raise unless ``x`` has one of the ``expected`` dtypes."""
    if x.dtype not in expected:
        raise GuerdonError(f"{owner}.{field} must be {' or '.join(map(str, expected))}, but {x.dtype} came.")


FLOATS = (torch.float32, torch.float64)


def floats(owner: str, field: str, values: Mapping[str, Tensor], *expected: int | None) -> None:
    """Check every tensor of a mapping: floating (float32, or float64 for exact work) and of the expected shape."""
    for name, x in values.items():
        shape(owner, f"{field}[{name!r}]", x, *expected)
        dtype(owner, f"{field}[{name!r}]", x, *FLOATS)


def indices(owner: str, field: str, x: Tensor, rows: int | None) -> None:
    """Raise unless ``x`` is int64 and, where ``rows`` is known, lies in [0, rows)."""
    dtype(owner, field, x, torch.int64)
    if rows is not None and x.numel() and (int(x.min()) < 0 or int(x.max()) >= rows):
        raise GuerdonError(
            f"{owner}.{field} must hold row numbers in [0, {rows}), but [{int(x.min())}, {int(x.max())}] came."
        )
