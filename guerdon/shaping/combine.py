"""K channels to one: the same object at stage *reward* [K,N], *advantage* [K,N,T] or *gradient* [K,D].

Values under ok False may be anything. A channel that is not ok for a unit is left out there; the result is ok where any
channel is (a base channel, where one is named, must be). FAILED units are dropped by whoever holds the statuses.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

import torch
from torch import Tensor

from guerdon.errors import GuerdonError
from guerdon.reduce import masked
from guerdon.rewards.interface import State


def _across(values: Tensor, weight: Tensor) -> Tensor:
    """Weights [K] in the shape of values [K,*]."""
    return weight.to(values).reshape(-1, *(1 for _ in values.shape[1:])).expand(values.shape)


def channel_mean(values: Tensor, ok: Tensor) -> Tensor:
    """Mean over the ok channels: [K,*] -> [*], 0 where none is."""
    return masked(values, ok).sum(0) / ok.sum(0).clamp(min=1)


def channel_variance(values: Tensor, ok: Tensor, correction: int) -> Tensor:
    """Variance over the ok channels, divided by count − correction: [K,*] -> [*]; 0 where count ≤ correction."""
    count = ok.sum(0)
    gap = masked(values - channel_mean(values, ok), ok)
    return torch.where(count > correction, gap.square().sum(0) / (count - correction).clamp(min=1), 0.0)


@dataclass(frozen=True)
class WeightedSum:
    """Σ w_k v_k over the ok channels; state['weights'] [K], in the order of the names, overrides the fixed weights."""

    weights: tuple[tuple[str, float], ...] = ()
    name: str = "weighted_sum"

    def init(self) -> State:
        """{}: fixed weights until a companion sets state['weights']."""
        return {}

    def __call__(self, names: tuple[str, ...], values: Tensor, ok: Tensor, state: State) -> tuple[Tensor, Tensor]:
        """(Σ w_k v_k [*], any ok [*]). Raises GuerdonError where names and weights differ."""
        if "weights" in state:
            weight = torch.as_tensor(state["weights"])
            if weight.shape != (len(names),):
                raise GuerdonError(f"weighted_sum needs one weight for each of {names}, but {list(weight.shape)} came.")
        elif self.weights:
            given = dict(self.weights)
            if set(given) != set(names):
                raise GuerdonError(
                    f"weighted_sum has weights for {sorted(given)}, but the channels are {sorted(names)}."
                )
            weight = torch.tensor([given[n] for n in names], dtype=torch.float64)
        else:
            weight = torch.ones(len(names))
        return (masked(values, ok) * _across(values, weight)).sum(0), ok.any(0)


@dataclass(frozen=True)
class Aggregate:
    """One of mean, median, minimum (WCO), maximum, product over the ok channels."""

    name: Literal["mean", "median", "minimum", "maximum", "product"]

    def init(self) -> State:
        """{}: no state."""
        return {}

    def __call__(self, names: tuple[str, ...], values: Tensor, ok: Tensor, state: State) -> tuple[Tensor, Tensor]:
        """(aggregate [*], any ok [*])."""
        some = ok.any(0)
        if self.name == "mean":
            return channel_mean(values, ok), some
        if self.name == "product":
            return masked(masked(values, ok, 1.0).prod(0), some), some
        if self.name == "median":
            ordered = masked(values, ok, float("inf")).sort(0).values
            count = ok.sum(0).clamp(min=1)
            middle = (
                ordered.gather(0, ((count - 1) // 2).unsqueeze(0)) + ordered.gather(0, (count // 2).unsqueeze(0))
            ) / 2
            return masked(middle.squeeze(0), some), some
        found = masked(values, ok, float("inf")).amin(0) if self.name == "minimum" else masked(
            values, ok, float("-inf")
        ).amax(0)  # fmt: skip
        return masked(found, some), some


@dataclass(frozen=True)
class Pessimistic:
    """mean − coefficient · std, or · variance, over the ok channels."""

    name: Literal["mean_minus_std", "mean_minus_variance"]
    coefficient: float
    correction: int = 0

    def init(self) -> State:
        """{}: no state."""
        return {}

    def __call__(self, names: tuple[str, ...], values: Tensor, ok: Tensor, state: State) -> tuple[Tensor, Tensor]:
        """(pessimistic value [*], any ok [*]); one ok channel has no spread."""
        variance = channel_variance(values, ok, self.correction)
        if self.name == "mean_minus_std":
            positive = variance > 0
            variance = torch.where(positive, torch.where(positive, variance, 1.0).sqrt(), 0.0)
        return channel_mean(values, ok) - self.coefficient * variance, ok.any(0)


def weighted_sum(weights: Mapping[str, float] | None = None, **more: float) -> WeightedSum:
    """Σ w_k v_k by channel name; without weights a plain sum. An absent channel adds nothing."""
    return WeightedSum(tuple({**(weights or MappingProxyType({})), **more}.items()))


def mean() -> Aggregate:
    """Mean of the channels."""
    return Aggregate("mean")


def median() -> Aggregate:
    """Median of the channels (of an even number, the middle of the two)."""
    return Aggregate("median")


def minimum() -> Aggregate:
    """Smallest channel: worst-case optimisation, WCO (Coste et al. 2023). Bring members to one offset first."""
    return Aggregate("minimum")


def maximum() -> Aggregate:
    """Largest channel."""
    return Aggregate("maximum")


def product() -> Aggregate:
    """Product of the channels."""
    return Aggregate("product")


def mean_minus_std(coefficient: float, *, correction: int = 0) -> Pessimistic:
    """mean − coefficient · std over channels (Eisenstein et al. 2023). correction 0: population, 1: unbiased."""
    return Pessimistic("mean_minus_std", coefficient, correction)


def uncertainty_weighted(coefficient: float, *, correction: int = 0) -> Pessimistic:
    """mean − coefficient · variance: UWO (Coste et al. 2023; 0.5 and population variance in best-of-n, 0.1 and unbiased
    variance with PPO)."""
    return Pessimistic("mean_minus_variance", coefficient, correction)
