"""A running mean over rounds of something the run measures, handed back to the objective as a constant statistic."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from guerdon.batch import Samples, Steps
from guerdon.errors import GuerdonError
from guerdon.training.companions import Companion
from guerdon.training.recipe import Round


class RunningMean(Companion):
    """m ← momentum·m + (1 − momentum)·metric after every round that measured it (β-DPO's M₀), from ``start``.

    metric: its name in the round's metrics. It is given to every live step of the next round as the statistic 'running:
    <what follows the last slash of the metric>'. Raises GuerdonError where momentum is not in [0, 1).
    """

    def __init__(self, metric: str, momentum: float = 0.9, start: float = 0.0) -> None:
        if not 0 <= momentum < 1:
            raise GuerdonError(f"RunningMean(momentum=…) must lie in [0, 1), but {momentum} came.")
        self.metric, self.momentum, self.mean = metric, momentum, float(start)
        self.name = f"running:{metric.rpartition('/')[2]}"
        self.provides = (self.name,)

    def evidence(self, samples: Samples, steps: Steps) -> Mapping[str, Tensor]:
        """{'running:…': [N,T]}, the mean before this round, on every step."""
        return {self.name: torch.full(steps.mask.shape, self.mean, device=steps.mask.device)}

    def after_round(self, round: Round) -> Mapping[str, float]:
        """Take in the round's value; the metric is the mean after it."""
        if self.metric in round.metrics:
            self.mean = self.momentum * self.mean + (1 - self.momentum) * round.metrics[self.metric]
        return {self.name: self.mean}

    def state_dict(self) -> dict[str, Any]:
        """The mean."""
        return {"mean": self.mean}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Bit for bit."""
        self.mean = float(state["mean"])
