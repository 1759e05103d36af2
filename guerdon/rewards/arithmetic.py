"""Sums, products, extremes and scheduled weights of rewards."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from guerdon.batch import Scores
from guerdon.errors import GuerdonError
from guerdon.rewards.graph import Call, Node, Over, as_node
from guerdon.rewards.interface import Reward, State
from guerdon.rewards.schedules import Schedule
from guerdon.rewards.validity import aligned, number, one, scaled


@dataclass(frozen=True, eq=False)
class Sum(Node):
    """Σ weight · part + bias. Nothing is renormalised when a part is left out. One part may have several channels, each
    mapped alike."""

    parts: tuple[Node, ...]
    weights: tuple[float, ...]
    bias: float = 0.0
    name: str = "sum"

    @property
    def label(self) -> str:
        """The formula."""
        terms = [f"{w:g}*{p.name}" for w, p in zip(self.weights, self.parts, strict=True)]
        return f"{self.name} = " + " + ".join(terms + ([f"{self.bias:g}"] if self.bias else []))

    @property
    def channels(self) -> tuple[str, ...]:  # type: ignore[override]
        """The part's own where there is one, else the node's name."""
        return self.parts[0].channels if len(self.parts) == 1 else (self.name,)

    def compute(self, inputs: Sequence[Scores], state: State, call: Call) -> tuple[Scores, State]:
        """The weighted sum."""
        if len(inputs) == 1:
            w = self.weights[0]
            return Scores({n: scaled(c, w, self.bias) for n, c in inputs[0].channels.items()}), state
        values, ok, status, note = aligned(self.name, inputs)
        weights = torch.tensor(self.weights, dtype=values.dtype, device=values.device)
        weighted = values * weights.view(-1, *[1] * (values.ndim - 1))
        value = torch.where(ok, weighted, 0.0).sum(0) + self.bias
        return one(self.name, value, status, note), state


@dataclass(frozen=True, eq=False)
class Product(Node):
    """The product of the parts that apply."""

    parts: tuple[Node, ...]
    name: str = "product"

    def compute(self, inputs: Sequence[Scores], state: State, call: Call) -> tuple[Scores, State]:
        """The product."""
        values, ok, status, note = aligned(self.name, inputs)
        return one(self.name, torch.where(ok, values, 1.0).prod(0), status, note), state


@dataclass(frozen=True, eq=False)
class Extreme(Node):
    """The least ('minimum') or greatest ('maximum') of the parts that apply, and of ``bound`` where one is given."""

    parts: tuple[Node, ...]
    name: str = "minimum"
    greatest: bool = False
    bound: float | None = None

    def compute(self, inputs: Sequence[Scores], state: State, call: Call) -> tuple[Scores, State]:
        """The extreme; at a tie between parts the gradient is shared."""
        values, ok, status, note = aligned(self.name, inputs)
        if self.greatest:
            value = torch.where(ok, values, -math.inf).amax(0)
            value = value if self.bound is None else value.clamp(min=self.bound)
        else:
            value = torch.where(ok, values, math.inf).amin(0)
            value = value if self.bound is None else value.clamp(max=self.bound)
        return one(self.name, value, status, note), state


@dataclass(frozen=True, eq=False)
class Scheduled(Over):
    """``value`` times a weight that depends on ``context.step``."""

    weight: Schedule

    @property
    def label(self) -> str:
        """Reward and schedule."""
        return f"{self.name} * {getattr(self.weight, '__name__', repr(self.weight))}(step)"

    def compute(self, inputs: Sequence[Scores], state: State, call: Call) -> tuple[Scores, State]:
        """The weighted channels."""
        weight = number(self.weight(call.context.step))
        return Scores({n: scaled(c, weight, 0.0) for n, c in inputs[0].channels.items()}), state


def total(*rewards: Reward) -> Sum:
    """a + b + …: weighted sums without a constant are merged, so that ``0.7*a + 0.3*b`` is one node of two weights."""
    parts: list[Node] = []
    weights: list[float] = []
    for node in map(as_node, rewards):
        # A constant must stay with its own term: it vanishes with it where the term does not apply.
        if isinstance(node, Sum) and node.bias == 0.0 and node.name == "sum":
            parts += node.parts
            weights += node.weights
        else:
            parts.append(node)
            weights.append(1.0)
    return Sum(tuple(parts), tuple(weights))


def minimum(*rewards: Reward | float) -> Extreme:
    """The least of the rewards that apply; a number bounds the result from above."""
    return _extreme(rewards, False)


def maximum(*rewards: Reward | float) -> Extreme:
    """The greatest of the rewards that apply; a number bounds the result from below."""
    return _extreme(rewards, True)


def _extreme(rewards: Sequence[Reward | float], greatest: bool) -> Extreme:
    nodes = tuple(as_node(r) for r in rewards if isinstance(r, Reward))
    numbers = [number(r) for r in rewards if not isinstance(r, Reward)]
    if not nodes:
        raise GuerdonError("minimum and maximum need at least one reward.")
    bound = None if not numbers else (max if greatest else min)(numbers)
    return Extreme(nodes, "maximum" if greatest else "minimum", greatest, bound)
