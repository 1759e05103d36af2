"""Transforms that compare a value with others: centre, z-score, min–max, running clip.

partition: 'prompt', 'batch' or any partition of the samples: statistics of this batch's groups, no state.
'running': statistics of everything seen while training, kept in the state, updated with the current batch before use.
Invalid values never enter a statistic and stay invalid.
"""

import math
from dataclasses import dataclass

import torch

from guerdon.batch import Channel, Samples
from guerdon.errors import GuerdonError
from guerdon.reduce import group_max, group_min
from guerdon.rewards.interface import Context, State
from guerdon.shaping.groups import centred, ids_like, standardised
from guerdon.shaping.pointwise import with_slope
from guerdon.shaping.running import add_extremes, add_moments, no_extremes, no_moments, running_mean_std

RUNNING = "running"


def _positive(name: str, value: float) -> None:
    if not value >= 0:
        raise GuerdonError(f"{name} must be 0 or more, but {value} came.")


@dataclass(frozen=True)
class Centre:
    """x − mean of its group (or of everything seen)."""

    partition: str = "prompt"
    name: str = "centre"

    def init(self) -> State:
        """Moments when running, else {}."""
        return no_moments() if self.partition == RUNNING else {}

    def apply(self, channel: Channel, samples: Samples, state: State, context: Context) -> tuple[Channel, State]:
        """The centred channel; spread unchanged. A value outside every group becomes 0."""
        x, ok = channel.filled(), channel.ok
        if self.partition == RUNNING:
            state = add_moments(state, x, ok) if context.training else state
            return channel.with_value(x - running_mean_std(state)[0], channel.spread), state
        ids = ids_like(samples.partition(self.partition), x)
        return channel.with_value(centred(x, ids, ok), channel.spread), state


@dataclass(frozen=True)
class ZScore:
    """(x − mean) / (std + ε) of its group (or of everything seen)."""

    partition: str = "prompt"
    eps: float = 1e-6
    correction: int = 1
    name: str = "zscore"

    def __post_init__(self) -> None:
        _positive("zscore eps", self.eps)

    def init(self) -> State:
        """Moments when running, else {}."""
        return no_moments() if self.partition == RUNNING else {}

    def apply(self, channel: Channel, samples: Samples, state: State, context: Context) -> tuple[Channel, State]:
        """The standardised channel; spread divided alike. A group without variance gives exactly 0."""
        x, ok = channel.filled(), channel.ok
        if self.partition == RUNNING:
            state = add_moments(state, x, ok) if context.training else state
            mean, std = running_mean_std(state, self.correction)
            # Nothing to divide by yet (no or constant data): centre only, rather than blow up by 1/ε.
            slope = 1.0 / (std + self.eps) if std > 0 else 1.0
            return with_slope(channel, (x - mean) * slope, slope), state
        ids = ids_like(samples.partition(self.partition), x)
        value, std_of_group = standardised(x, ids, ok, eps=self.eps, correction=self.correction)
        flat = std_of_group == 0
        return with_slope(
            channel, value, torch.where(flat, 1.0, 1.0 / torch.where(flat, 1.0, std_of_group + self.eps))
        ), state


@dataclass(frozen=True)
class MinMax:
    """(x − min) / (max − min) of its group (or of everything seen), in [0, 1] for the data the range comes from."""

    partition: str = "batch"
    name: str = "minmax"

    def init(self) -> State:
        """Extremes when running, else {}."""
        return no_extremes() if self.partition == RUNNING else {}

    def apply(self, channel: Channel, samples: Samples, state: State, context: Context) -> tuple[Channel, State]:
        """The rescaled channel. Where the range is empty or a point every value becomes ½."""
        x, ok = channel.filled(), channel.ok
        if self.partition == RUNNING:
            state = add_extremes(state, x, ok) if context.training else state
            low, high = (torch.full_like(x.detach(), float(state[end])) for end in ("low", "high"))
        else:
            ids = ids_like(samples.partition(self.partition), x)
            low, high = group_min(x, ids, ok), group_max(x, ids, ok)
        spanned = torch.isfinite(low) & (high > low)
        width = torch.where(spanned, high - low, 1.0)
        value = torch.where(spanned, (x - torch.where(spanned, low, 0.0)) / width, 0.5)
        return with_slope(channel, value, torch.where(spanned, 1.0 / width, 0.0)), state


@dataclass(frozen=True)
class RunningClip:
    """x held inside mean ± width · std of everything seen."""

    width: float = 1.0
    correction: int = 1
    name: str = "running_clip"

    def __post_init__(self) -> None:
        _positive("running_clip width", self.width)

    def init(self) -> State:
        """Moments."""
        return no_moments()

    def apply(self, channel: Channel, samples: Samples, state: State, context: Context) -> tuple[Channel, State]:
        """The clipped channel; unchanged while fewer than two values have been seen."""
        x, ok = channel.filled(), channel.ok
        state = add_moments(state, x, ok) if context.training else state
        mean, std = running_mean_std(state, self.correction)
        reach = self.width * std if float(state["count"]) > self.correction else math.inf
        value = x.clamp(mean - reach, mean + reach)
        return with_slope(channel, value, (value == x).to(x.dtype)), state


def centre(partition: str = "prompt") -> Centre:
    """x − mean over the partition, or 'running'."""
    return Centre(partition)


def zscore(partition: str = "prompt", *, eps: float = 1e-6, correction: int = 1) -> ZScore:
    """(x − mean)/(std + ε) over the partition, or 'running' (PAR's mean–std, Fu et al. 2025).

    correction 1: unbiased variance; 0: population. A group without variance gives exactly 0; running statistics without
    variance only centre.
    """
    return ZScore(partition, eps, correction)


def minmax(partition: str = "batch") -> MinMax:
    """(x − min)/(max − min) over the partition, or 'running' (PAR's min–max); ½ where the range is a point."""
    return MinMax(partition)


def running_clip(width: float = 1.0, *, correction: int = 1) -> RunningClip:
    """Clamp to mean ± width·std of everything seen in training (PAR's clip, width 1)."""
    return RunningClip(width, correction)
