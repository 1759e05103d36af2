"""Length penalties: how many steps a response took, and what that costs."""

from dataclasses import dataclass

import torch
from torch import Tensor

from guerdon.batch import Channel, Samples, TokenRows
from guerdon.errors import GuerdonError, NeedsError
from guerdon.reduce import group_sum
from guerdon.rewards.interface import Context, State
from guerdon.shaping.groups import centred, ids_like


def soft_overlong_penalty(length: Tensor, limit: int, buffer: int) -> Tensor:
    """DAPO's soft overlong punishment (Yu et al. 2025, eq. 13): length [N] -> [N] in [−1, 0].

    0 up to limit − buffer, then linearly to −1 at the limit, −1 beyond.
    """
    return ((limit - buffer - length.float()) / buffer).clamp(-1.0, 0.0)


def linear_length_penalty(length: Tensor, free: int, coefficient: float) -> Tensor:
    """−coefficient · (length − free) above ``free``, 0 up to it (PAR, Fu et al. 2025): length [N] -> [N]."""
    return -coefficient * (length.float() - free).clamp(min=0.0)


def lengths_of(samples: Samples, column: str | None = None) -> Tensor:
    """How long each row is, float32 [N]: the named column, or the tokens the actor chose.

    Raises NeedsError where no column is named and the payload is not token rows.
    """
    if column is not None:
        return torch.tensor([float(x) for x in samples.column(column)])
    if not isinstance(samples.payload, TokenRows):
        raise NeedsError(
            "A length penalty counts tokens of TokenRows; name a column with the lengths for other payloads."
        )
    return samples.payload.response.sum(-1).float()


def _row_lengths(channel: Channel, samples: Samples, column: str | None) -> Tensor:
    if channel.value.ndim != 1:
        raise GuerdonError("A length penalty changes one reward a row [N]; apply it before credit assignment.")
    return lengths_of(samples, column).to(channel.value.device)


@dataclass(frozen=True)
class SoftOverlong:
    """x + coefficient · soft overlong punishment."""

    limit: int
    buffer: int
    coefficient: float = 1.0
    column: str | None = None
    name: str = "soft_overlong"

    def __post_init__(self) -> None:
        if not 0 < self.buffer <= self.limit:
            raise GuerdonError(
                f"soft_overlong needs 0 < buffer <= limit, but buffer {self.buffer}, limit {self.limit} came."
            )

    def init(self) -> State:
        """{}: no state."""
        return {}

    def apply(self, channel: Channel, samples: Samples, state: State, context: Context) -> tuple[Channel, State]:
        """The penalised channel; spread unchanged."""
        length = _row_lengths(channel, samples, self.column)
        penalty = self.coefficient * soft_overlong_penalty(length, self.limit, self.buffer)
        return channel.with_value(channel.filled() + penalty, channel.spread), state


@dataclass(frozen=True)
class LinearLength:
    """x − coefficient · max(0, length − free)."""

    free: int
    coefficient: float
    column: str | None = None
    name: str = "linear_length"

    def init(self) -> State:
        """{}: no state."""
        return {}

    def apply(self, channel: Channel, samples: Samples, state: State, context: Context) -> tuple[Channel, State]:
        """The penalised channel; spread unchanged."""
        penalty = linear_length_penalty(_row_lengths(channel, samples, self.column), self.free, self.coefficient)
        return channel.with_value(channel.filled() + penalty, channel.spread), state


@dataclass(frozen=True)
class LengthResidual:
    """x minus its least-squares line on length inside each group."""

    partition: str = "batch"
    column: str | None = None
    name: str = "length_residual"

    def init(self) -> State:
        """{}: no state."""
        return {}

    def apply(self, channel: Channel, samples: Samples, state: State, context: Context) -> tuple[Channel, State]:
        """The channel without what length explains; groups of equal lengths are unchanged, means are kept."""
        length, ok = _row_lengths(channel, samples, self.column), channel.ok
        x = channel.filled()
        ids = ids_like(samples.partition(self.partition), x)
        gap = centred(length, ids, ok)
        variance = group_sum(gap.square(), ids, ok)
        covariance = group_sum(gap * centred(x.detach(), ids, ok), ids, ok)
        slope = torch.where(variance > 0, covariance / torch.where(variance > 0, variance, 1.0), 0.0)
        return channel.with_value(x - slope * gap, channel.spread), state


def soft_overlong(limit: int, buffer: int, coefficient: float = 1.0, column: str | None = None) -> SoftOverlong:
    """Add coefficient × DAPO's soft overlong punishment. Raises GuerdonError unless 0 < buffer ≤ limit."""
    return SoftOverlong(limit, buffer, coefficient, column)


def linear_length(free: int, coefficient: float, column: str | None = None) -> LinearLength:
    """Charge ``coefficient`` for every step beyond ``free`` (PAR's length penalty)."""
    return LinearLength(free, coefficient, column)


def length_residual(partition: str = "batch", column: str | None = None) -> LengthResidual:
    """Remove what a straight line on length explains, group by group; the slope is a detached statistic."""
    return LengthResidual(partition, column)
