"""Transforms that look at one value at a time: affine, clip, sigmoid, log-sigmoid, tanh. None has state.

A channel's spread follows to first order: it is multiplied by the slope |f′| at the value (exact for affine maps).
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from guerdon.batch import Channel, Samples
from guerdon.errors import GuerdonError
from guerdon.rewards.interface import Context, State


def with_slope(channel: Channel, value: Tensor, slope: Tensor | float) -> Channel:
    """The channel around another value, its spread times |slope|; statuses and notes kept."""
    spread = None if channel.spread is None else channel.spread * torch.as_tensor(slope).detach().abs()
    return channel.with_value(value, spread)


@dataclass(frozen=True)
class Pointwise:
    """A stateless transform: ``function(x) -> (f(x), f′(x))`` on a finite tensor of any shape."""

    name: str
    function: Callable[[Tensor], tuple[Tensor, Tensor | float]]

    def init(self) -> State:
        """{}: no state."""
        return {}

    def apply(self, channel: Channel, samples: Samples, state: State, context: Context) -> tuple[Channel, State]:
        """f of every OK value; others stay what they are."""
        # 0 stands in for invalid values, so that NaN reaches neither f nor its gradient.
        value, slope = self.function(channel.filled())
        return with_slope(channel, value, slope), state


@dataclass(frozen=True)
class Affine:
    """factor · x + offset."""

    factor: float = 1.0
    offset: float = 0.0
    name: str = "affine"

    def init(self) -> State:
        """{}: no state."""
        return {}

    def apply(self, channel: Channel, samples: Samples, state: State, context: Context) -> tuple[Channel, State]:
        """The affine image; spread times |factor|."""
        return with_slope(channel, channel.filled() * self.factor + self.offset, self.factor), state


@dataclass(frozen=True)
class Clip:
    """x held inside [low, high]; either end may be None. Gradient and spread are 0 outside."""

    low: float | None = None
    high: float | None = None
    name: str = "clip"

    def __post_init__(self) -> None:
        if self.low is None and self.high is None:
            raise GuerdonError("clip needs a low or a high end; with neither it does nothing.")
        if self.low is not None and self.high is not None and self.low > self.high:
            raise GuerdonError(f"clip needs low <= high, but [{self.low}, {self.high}] came.")

    def init(self) -> State:
        """{}: no state."""
        return {}

    def apply(self, channel: Channel, samples: Samples, state: State, context: Context) -> tuple[Channel, State]:
        """The clipped channel."""
        x = channel.filled()
        value = x.clamp(self.low, self.high)
        return with_slope(channel, value, (value == x).to(x.dtype)), state


@dataclass(frozen=True)
class Squash:
    """f(factor · (x − centre)) for f one of 'sigmoid', 'log_sigmoid', 'tanh'."""

    name: str
    factor: float = 1.0
    centre: float = 0.0

    def init(self) -> State:
        """{}: no state."""
        return {}

    def apply(self, channel: Channel, samples: Samples, state: State, context: Context) -> tuple[Channel, State]:
        """The squashed channel; spread times the slope there."""
        z = self.factor * (channel.filled() - self.centre)
        if self.name == "tanh":
            value, slope = torch.tanh(z), 1 - torch.tanh(z).square()
        elif self.name == "log_sigmoid":
            value, slope = F.logsigmoid(z), torch.sigmoid(-z)
        else:
            value, slope = torch.sigmoid(z), torch.sigmoid(z) * torch.sigmoid(-z)
        return with_slope(channel, value, self.factor * slope), state


def affine(factor: float = 1.0, offset: float = 0.0) -> Affine:
    """factor · x + offset."""
    return Affine(factor, offset)


def scale(factor: float) -> Affine:
    """factor · x."""
    return Affine(factor, 0.0, "scale")


def offset(amount: float) -> Affine:
    """x + amount."""
    return Affine(1.0, amount, "offset")


def clip(low: float | None = None, high: float | None = None) -> Clip:
    """x held inside [low, high]; ``clip(high=c)`` is PAR's ceiling. Raises GuerdonError where low > high."""
    return Clip(low, high)


def sigmoid(factor: float = 1.0, centre: float = 0.0) -> Squash:
    """σ(factor · (x − centre)), in (0, 1), slope factor/4 at the centre."""
    return Squash("sigmoid", factor, centre)


def log_sigmoid(factor: float = 1.0, centre: float = 0.0) -> Squash:
    """log σ(factor · (x − centre)), below 0, finite for any finite x (LSC, Wang et al. 2024, one reference)."""
    return Squash("log_sigmoid", factor, centre)


def tanh(factor: float = 1.0, centre: float = 0.0) -> Squash:
    """tanh(factor · (x − centre)), in (−1, 1)."""
    return Squash("tanh", factor, centre)


def pointwise(function: Callable[[Tensor], tuple[Tensor, Tensor | float]], name: str) -> Pointwise:
    """Any other function of one value; it returns (f(x), f′(x)), the slope only to carry the spread."""
    return Pointwise(name, function)
