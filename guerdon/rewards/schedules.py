"""Weights that depend on the step: small, frozen, serialisable."""

import math
from dataclasses import dataclass
from typing import Protocol

from guerdon.errors import GuerdonError


class Schedule(Protocol):
    """A step (0, 1, …) to a weight. A plain module-level function will do."""

    def __call__(self, step: int) -> float:
        """The weight at ``step``."""
        ...


@dataclass(frozen=True)
class Constant:
    """The same weight at every step."""

    weight: float = 1.0

    def __call__(self, step: int) -> float:
        """The weight."""
        return self.weight


@dataclass(frozen=True)
class Linear:
    """``start`` until step ``begin``, ``end`` from step ``begin + steps`` on, a line between."""

    start: float
    end: float
    steps: int
    begin: int = 0

    def __post_init__(self) -> None:
        _check("linear", self.steps)

    def __call__(self, step: int) -> float:
        """The weight at ``step``."""
        return self.start + (self.end - self.start) * _done(step, self.begin, self.steps)


@dataclass(frozen=True)
class Cosine:
    """Like Linear, along half a cosine."""

    start: float
    end: float
    steps: int
    begin: int = 0

    def __post_init__(self) -> None:
        _check("cosine", self.steps)

    def __call__(self, step: int) -> float:
        """The weight at ``step``."""
        turned = 0.5 * (1.0 + math.cos(math.pi * _done(step, self.begin, self.steps)))
        return self.end + (self.start - self.end) * turned


def constant(weight: float = 1.0) -> Constant:
    """The same weight at every step."""
    return Constant(weight)


def linear(start: float, end: float, *, steps: int, begin: int = 0) -> Linear:
    """From ``start`` at step ``begin`` to ``end`` at step ``begin + steps`` and ever after."""
    return Linear(start, end, steps, begin)


def cosine(start: float, end: float, *, steps: int, begin: int = 0) -> Cosine:
    """From ``start`` to ``end`` along half a cosine."""
    return Cosine(start, end, steps, begin)


def _check(kind: str, steps: int) -> None:
    if steps < 1:
        raise GuerdonError(f"A {kind} schedule needs steps >= 1, but {steps} came.")


def _done(step: int, begin: int, steps: int) -> float:
    """The share of the way gone, in [0, 1]."""
    return min(max((step - begin) / steps, 0.0), 1.0)
