"""One reward per channel, with a status for every value: invalid is a state, never a silent zero."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum

import torch
from torch import Tensor

from guerdon.batch import checks
from guerdon.errors import GuerdonError, NeedsError, RewardError


class Status(IntEnum):
    """What a value means.

    OK: use it. NOT_APPLICABLE: leave this channel out for this unit. FAILED: the unit is unusable (a reward raised,
    hung or returned no number) and must not be trained on.
    """

    OK = 0
    NOT_APPLICABLE = 1
    FAILED = 2


@dataclass(frozen=True)
class Channel:
    """One reward: value [N] (a row each) or [N,T] (a step each).

    status: int8 like value, None for all OK. spread: uncertainty like value, in the value's units, or None. note: one
    short text a row, or None. The value carries gradient if its reward is differentiable. Under a status other than OK
    the value is NaN.

    Raises RewardError where an OK value is NaN or infinite, naming the row.
    """

    value: Tensor
    status: Tensor | None = None
    spread: Tensor | None = None
    note: Sequence[str] | None = None

    def __post_init__(self) -> None:
        if self.value.ndim not in (1, 2):
            raise GuerdonError(f"Channel.value must have shape [N] or [N,T], but {list(self.value.shape)} came.")
        if not self.value.is_floating_point() or self.value.dtype not in checks.FLOATS:
            object.__setattr__(self, "value", self.value.float())
        if self.status is not None:
            checks.shape("Channel", "status", self.status, *self.value.shape)
            checks.dtype("Channel", "status", self.status, torch.int8)
        if self.spread is not None:
            checks.shape("Channel", "spread", self.spread, *self.value.shape)
        if self.note is not None and len(self.note) != len(self.value):
            raise GuerdonError(f"Channel.note must hold one text a row ({len(self.value)}), but {len(self.note)} came.")
        bad = self.ok & ~torch.isfinite(self.value.detach())
        if bool(bad.any()):
            row = int(bad.nonzero()[0, 0])
            raise RewardError(
                f"A reward must be finite, but row {row} has {float(self.value.detach()[row].reshape(-1)[0]):g}; "
                "mark it NOT_APPLICABLE or FAILED instead."
            )

    @property
    def ok(self) -> Tensor:
        """bool like value: True where the status is OK."""
        if self.status is None:
            return torch.ones(self.value.shape, dtype=torch.bool, device=self.value.device)
        return self.status == int(Status.OK)

    @property
    def failed(self) -> Tensor:
        """bool like value: True where the status is FAILED."""
        if self.status is None:
            return torch.zeros(self.value.shape, dtype=torch.bool, device=self.value.device)
        return self.status == int(Status.FAILED)

    def statuses(self) -> Tensor:
        """Status as int8 like value, zeros where none is stored."""
        return (
            torch.zeros(self.value.shape, dtype=torch.int8, device=self.value.device)
            if self.status is None
            else self.status
        )

    def filled(self, fill: float = 0.0) -> Tensor:
        """Value with ``fill`` wherever the status is not OK; gradients there are exactly zero."""
        return torch.where(self.ok, self.value, torch.full((), fill, dtype=self.value.dtype, device=self.value.device))

    def with_value(self, value: Tensor, spread: Tensor | None = None) -> "Channel":
        """The same statuses and notes around another value."""
        status = self.status
        if status is not None:
            value = torch.where(self.ok, value, torch.full((), float("nan"), dtype=value.dtype, device=value.device))
        return Channel(value, status, spread, self.note)

    def take(self, rows: Tensor) -> "Channel":
        """The rows with these numbers [M]."""
        note = None if self.note is None else [self.note[int(i)] for i in rows]
        return Channel(
            self.value[rows],
            None if self.status is None else self.status[rows],
            None if self.spread is None else self.spread[rows],
            note,
        )

    @staticmethod
    def of(values: "Sequence[float | None] | Tensor", note: Sequence[str] | None = None) -> "Channel":
        """A channel from what a plain function returns: numbers, with None for 'not applicable'."""
        if isinstance(values, Tensor):
            return Channel(values, note=note)
        value = torch.tensor([float("nan") if v is None else float(v) for v in values], dtype=torch.float32)
        absent = torch.tensor([v is None for v in values], dtype=torch.bool)
        status = torch.where(absent, int(Status.NOT_APPLICABLE), int(Status.OK)).to(torch.int8)
        return Channel(value, status if bool(absent.any()) else None, note=note)


@dataclass(frozen=True)
class Scores:
    """Channels by name, not yet combined: several rewards, members of an ensemble, judges' verdicts, costs."""

    channels: Mapping[str, Channel] = field(default_factory=dict)

    def __post_init__(self) -> None:
        sizes = {name: len(c.value) for name, c in self.channels.items()}
        if len(set(sizes.values())) > 1:
            raise GuerdonError(f"Scores: every channel must cover the same rows, but the row counts are {sizes}.")

    def __getitem__(self, name: str) -> Channel:
        if name not in self.channels:
            raise NeedsError(f"Scores needs the channel {name!r}, but holds {sorted(self.channels)}.")
        return self.channels[name]

    def __len__(self) -> int:
        return len(self.channels)

    def names(self) -> tuple[str, ...]:
        """Channel names in order."""
        return tuple(self.channels)

    def only(self) -> Channel:
        """The single channel. Raises NeedsError where there are several: combine them first."""
        if len(self.channels) != 1:
            raise NeedsError(f"One channel was expected, but there are {list(self.channels)}; combine them first.")
        return next(iter(self.channels.values()))

    def merged(self, other: "Scores") -> "Scores":
        """Both sets of channels. Raises GuerdonError on a name that stands in both."""
        twice = set(self.channels) & set(other.channels)
        if twice:
            raise GuerdonError(f"Scores: the channels {sorted(twice)} stand on both sides; rename one.")
        return Scores({**self.channels, **other.channels})

    def take(self, rows: Tensor) -> "Scores":
        """The rows with these numbers [M]."""
        return Scores({name: c.take(rows) for name, c in self.channels.items()})
