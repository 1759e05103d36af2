"""How channels of different validity meet: the rules every node of the algebra shares.

A value that is used and FAILED makes the result FAILED; NOT_APPLICABLE values are left out, and a result with nothing
left is NOT_APPLICABLE; an invalid value is never read as 0.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from guerdon.batch import Channel, Scores, Status
from guerdon.errors import GuerdonError, NeedsError


def number(x: Any) -> float:
    """A finite number, or GuerdonError."""
    if isinstance(x, bool | int | float) and math.isfinite(x):
        return float(x)
    raise GuerdonError(f"A reward is combined with rewards and finite numbers, but {x!r} came.")


def single(owner: str, scores: Scores) -> Channel:
    """The one channel ``owner`` takes. Raises NeedsError where there are several."""
    if len(scores) != 1:
        raise NeedsError(f"{owner!r} takes one channel, but {list(scores.channels)} came; combine them first.")
    return scores.only()


def same_shape(owner: str, channels: Sequence[Channel]) -> None:
    """Raise GuerdonError unless all values have one shape."""
    shapes = {tuple(c.value.shape) for c in channels}
    if len(shapes) > 1:
        raise GuerdonError(
            f"{owner!r} takes values of one shape, but {sorted(shapes)} came; turn step rewards into row rewards first."
        )


def aligned(owner: str, inputs: Sequence[Scores]) -> tuple[Tensor, Tensor, Tensor, list[str] | None]:
    """(values [K,*] with 0 under invalid, ok [K,*], status [*], notes) of one-channel parts."""
    channels = [single(owner, s) for s in inputs]
    same_shape(owner, channels)
    values = torch.stack([c.filled() for c in channels])
    statuses = torch.stack([c.statuses() for c in channels])
    ok = statuses == int(Status.OK)
    status = torch.where(ok.any(0), int(Status.OK), int(Status.NOT_APPLICABLE))
    status = torch.where((statuses == int(Status.FAILED)).any(0), int(Status.FAILED), status)
    return values, ok, status.to(torch.int8), notes(channels)


def one(name: str, value: Tensor, status: Tensor, note: Sequence[str] | None) -> Scores:
    """One channel; the value becomes NaN wherever the status is not OK."""
    ok = status == int(Status.OK)
    if bool(ok.all()):
        return Scores({name: Channel(value, note=note)})
    return Scores({name: Channel(torch.where(ok, value, float("nan")), status.to(torch.int8), note=note)})


def scaled(channel: Channel, weight: float, bias: float) -> Channel:
    """weight · channel + bias, the spread scaled along."""
    spread = None if channel.spread is None else channel.spread * abs(weight)
    return channel.with_value(channel.filled() * weight + bias, spread)


def notes(channels: Sequence[Channel]) -> list[str] | None:
    """The notes of several channels row by row, each text once."""
    noted = [c.note for c in channels if c.note is not None]
    return ["; ".join(dict.fromkeys(x for x in row if x)) for row in zip(*noted, strict=True)] if noted else None


def spread(channel: Channel, rows: Tensor, n: int) -> Channel:
    """A channel of some rows as one of all ``n``, NOT_APPLICABLE elsewhere."""
    shape = (n, *channel.value.shape[1:])
    value = torch.full(shape, float("nan"), dtype=channel.value.dtype).index_copy(0, rows, channel.value)
    status = torch.full(shape, int(Status.NOT_APPLICABLE), dtype=torch.int8).index_copy(0, rows, channel.statuses())
    note = None
    if channel.note is not None:
        note = [""] * n
        for i, text in zip(rows.tolist(), channel.note, strict=True):
            note[i] = text
    return Channel(value, status, note=note)
