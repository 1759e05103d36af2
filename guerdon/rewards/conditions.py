"""Conditions on rewards, and what they guard: gates and constraints."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from guerdon.batch import Scores, Status
from guerdon.errors import GuerdonError
from guerdon.rewards.graph import Call, Evaluation, Node, as_node
from guerdon.rewards.interface import Reward, State
from guerdon.rewards.validity import notes, number, one, same_shape, single


@dataclass(frozen=True, eq=False)
class Gate(Node):
    """``value`` where condition > threshold, ``otherwise`` where it is not; an invalid condition hands on its
    status."""

    value: Node
    condition: Node
    threshold: float = 0.5
    otherwise: float = 0.0
    name: str = "gate"

    @property
    def parts(self) -> tuple[Node, ...]:  # type: ignore[override]
        """Value, then condition."""
        return self.value, self.condition

    @property
    def label(self) -> str:
        """The rule."""
        c = self.condition
        rule = c.name if isinstance(c, Condition) and self.threshold == 0.5 else f"{c.name} > {self.threshold:g}"
        return f"{self.name}: {self.value.name} where {rule}, else {self.otherwise:g}"

    def compute(self, inputs: Sequence[Scores], state: State, call: Call) -> tuple[Scores, State]:
        """The gated value; where the gate is shut the value is not used, so its status does not matter."""
        a, c = single(self.name, inputs[0]), single(self.name, inputs[1])
        same_shape(self.name, (a, c))
        gate_ok = c.ok
        opened = gate_ok & (c.filled() > self.threshold)
        value = torch.where(opened, a.filled(), torch.full_like(a.value, self.otherwise))
        ok_status = torch.where(opened, a.statuses(), int(Status.OK))
        status = torch.where(gate_ok, ok_status, c.statuses()).to(torch.int8)
        return one(self.name, value, status, notes((a, c))), state


@dataclass(frozen=True, eq=False)
class Condition(Node):
    """left ⋄ right as 1.0 or 0.0 (⋄ one of <=, <, >=, >); an invalid side hands on its status, FAILED first."""

    left: Node
    relation: str
    right: Node | float

    def __bool__(self) -> bool:
        raise GuerdonError(
            "A condition on rewards has no truth value before it is scored; "
            "write two conditions instead of a chain (0 < a < 1)."
        )

    @property
    def name(self) -> str:  # type: ignore[override]
        """The condition as text."""
        right = self.right.name if isinstance(self.right, Node) else f"{self.right:g}"
        return f"{self.left.name} {self.relation} {right}"

    @property
    def parts(self) -> tuple[Node, ...]:  # type: ignore[override]
        """The sides that are nodes."""
        return (self.left, self.right) if isinstance(self.right, Node) else (self.left,)

    def violation(self, inputs: Sequence[Scores]) -> tuple[Tensor, Tensor, Tensor]:
        """(satisfied, violation >= 0, status), all like the values: how far the wrong side of the bound a value
        lies."""
        sides = [single(self.name, s) for s in inputs]
        same_shape(self.name, sides)
        left = sides[0].filled()
        bound = torch.full_like(left, self.right) if isinstance(self.right, float) else sides[1].filled()
        gap = left - bound if self.relation in ("<=", "<") else bound - left
        satisfied = gap < 0 if self.relation in ("<", ">") else gap <= 0
        status = torch.stack([s.statuses() for s in sides]).amax(0)
        return satisfied, gap.clamp(min=0), status

    def compute(self, inputs: Sequence[Scores], state: State, call: Call) -> tuple[Scores, State]:
        """1.0 where satisfied."""
        satisfied, _, status = self.violation(inputs)
        value = satisfied.to(torch.float32)
        return one(self.name, value, status, notes([s.only() for s in inputs])), state


@dataclass(frozen=True, eq=False)
class Constrained(Node):
    """``value`` where every condition holds; elsewhere ``floor``, or value − penalty · Σ violation.

    Exactly one of floor and penalty is given. An invalid condition makes the result invalid: an unchecked constraint is
    not satisfied.
    """

    value: Node
    conditions: tuple[Condition, ...]
    floor: float | None = None
    penalty: float | None = None
    name: str = "constrained"

    def __post_init__(self) -> None:
        if (self.floor is None) == (self.penalty is None):
            raise GuerdonError("constrained needs exactly one of floor= and penalty=.")

    @property
    def parts(self) -> tuple[Node, ...]:  # type: ignore[override]
        """The value, then the conditions."""
        return (self.value, *self.conditions)

    @property
    def label(self) -> str:
        """The rule."""
        where = " and ".join(c.name for c in self.conditions)
        rest = f"else {self.floor:g}" if self.floor is not None else f"less {self.penalty:g} * violation"
        return f"{self.name}: {self.value.name} where {where}, {rest}"

    def evaluate(self, call: Call, state: State, path: str) -> Evaluation:
        """As for every node, but the conditions' violations are wanted besides their truth."""
        inner = [call.evaluate(c, state.get(k, {}), f"{path}/{k}") for k, c in self.children().items()]
        a = single(self.name, inner[0].scores)
        satisfied = torch.ones_like(a.ok)
        excess = torch.zeros_like(a.value)
        statuses = []
        for condition, done in zip(self.conditions, inner[1:], strict=True):
            met, violation, status = condition.violation([e.scores for e in done.children])
            same_shape(self.name, (a, done.scores.only()))
            satisfied, excess = satisfied & met, excess + violation
            statuses.append(status)
        checked = torch.stack(statuses).amax(0)
        if self.floor is not None:
            value = torch.where(satisfied, a.filled(), torch.full_like(a.value, self.floor))
            used = torch.where(satisfied, a.statuses(), 0)
        else:
            value, used = a.filled() - float(self.penalty or 0.0) * excess, a.statuses()
        status = torch.maximum(used, checked).to(torch.int8)
        nested = {k: e.state for k, e in zip(self.children(), inner, strict=True) if e.state}
        return Evaluation(path, self, one(self.name, value, status, notes([a])), nested, tuple(inner))


def constrained(
    reward: Reward, *conditions: Condition, floor: float | None = None, penalty: float | None = None
) -> Constrained:
    """``constrained(a, cost <= 0.1)``: a where every condition holds, else ``floor``, or a − penalty · Σ violation.

    Without floor and penalty the penalty is 1. A condition that could not be checked makes the row invalid.
    """
    for c in conditions:
        if not isinstance(c, Condition):
            raise GuerdonError(f"constrained takes conditions such as cost <= 0.1, but a {type(c).__name__} came.")
    if not conditions:
        raise GuerdonError("constrained needs at least one condition such as cost <= 0.1.")
    return Constrained(as_node(reward), conditions, floor, 1.0 if floor is None and penalty is None else penalty)


def compare(left: Node, relation: str, right: Reward | float) -> Condition:
    """left ⋄ right as a condition."""
    return Condition(left, relation, right.node() if isinstance(right, Reward) else number(right))
