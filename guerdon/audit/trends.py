"""How a curve of a run went, told from its noise."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from guerdon.audit.overoptimisation import noise

STANDS_OUT = 3.0
"""A change counts from this many of its standard errors."""


@dataclass(frozen=True)
class Trend:
    """start, end: means of the first and last tenth of the rounds. error: standard error of end − start, from the noise
    between rounds."""

    start: float
    end: float
    error: float
    rounds: int

    @property
    def change(self) -> float:
        """end − start."""
        return self.end - self.start

    @property
    def rose(self) -> bool:
        """Whether the rise stands out of the noise."""
        return self.rounds > 1 and self.change > STANDS_OUT * self.error

    @property
    def fell(self) -> bool:
        """Whether the fall does."""
        return self.rounds > 1 and -self.change > STANDS_OUT * self.error


def trend(values: Sequence[float], share: float = 0.1) -> Trend | None:
    """How a curve went; None where nothing was measured."""
    if not values:
        return None
    y = np.asarray(values, float)
    k = max(1, int(len(y) * share))
    return Trend(float(y[:k].mean()), float(y[-k:].mean()), noise(y, 1) * math.sqrt(2 / k), len(y))
