"""Running statistics as explicit state: moments merged batch by batch (Chan, Golub & LeVeque 1979), and extremes.

State is a mapping of float64 scalars, never changed in place. It is updated only while training, and with the current
batch *before* it is used (the convention of PAR's mean–std shaping), so evaluation reads frozen numbers.
"""

import math

import torch
from torch import Tensor

from guerdon.rewards.interface import State


def no_moments() -> State:
    """Nothing seen yet: count 0, mean 0, squares 0."""
    return {name: torch.zeros((), dtype=torch.float64) for name in ("count", "mean", "squares")}


def add_moments(state: State, x: Tensor, ok: Tensor) -> State:
    """The state after the entries of x (any shape) where ok is True; others never enter, NaN included."""
    seen = x.detach()[ok].cpu().double()
    if seen.numel() == 0:
        return state
    count, mean = torch.tensor(float(seen.numel()), dtype=torch.float64), seen.mean()
    squares = (seen - mean).square().sum()
    both = state["count"] + count
    gap = mean - state["mean"]
    return {
        "count": both,
        "mean": state["mean"] + gap * count / both,
        "squares": state["squares"] + squares + gap.square() * state["count"] * count / both,
    }


def running_mean_std(state: State, correction: int = 1) -> tuple[float, float]:
    """(mean, std) seen so far, std divided by count − correction; std 0 while count ≤ correction."""
    freedom = float(state["count"]) - correction
    return float(state["mean"]), math.sqrt(float(state["squares"]) / freedom) if freedom > 0 else 0.0


def no_extremes() -> State:
    """Nothing seen yet: low +∞, high −∞."""
    return {"low": torch.tensor(math.inf, dtype=torch.float64), "high": torch.tensor(-math.inf, dtype=torch.float64)}


def add_extremes(state: State, x: Tensor, ok: Tensor) -> State:
    """The state after the entries of x (any shape) where ok is True."""
    seen = x.detach()[ok].cpu().double()
    if seen.numel() == 0:
        return state
    return {"low": torch.minimum(state["low"], seen.min()), "high": torch.maximum(state["high"], seen.max())}
