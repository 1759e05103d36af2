"""What is checked: one call of one function, with the role each input plays."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from torch import Tensor

Inputs = Mapping[str, Any]


class CheckFailed(AssertionError):
    """A property does not hold. The message says which function, what was changed, what should hold."""


class NotApplicable(Exception):
    """A property has no meaning for this case; the message says why."""


@dataclass(frozen=True)
class Move:
    """Adding c to ``inputs`` adds ``result`` · c to the result (0: unchanged). per: one c for 'all', one a 'group'."""

    inputs: tuple[str, ...]
    result: float = 0.0
    per: Literal["all", "group"] = "all"


@dataclass(frozen=True)
class Degree:
    """Multiplying ``inputs`` by s > 0 multiplies the result by s ** ``degree``."""

    inputs: tuple[str, ...]
    degree: float


@dataclass(frozen=True)
class Limit:
    """With these options the function is its ``parent``, called with the same inputs."""

    options: Mapping[str, Any]
    parent: Callable[..., Any]
    name: str = "its parent"


@dataclass(frozen=True)
class Ratio:
    """Where ``policy`` equals ``old``, value and gradient are those of ``parent``: the ratio is exactly 1.

    value: compare values too, not only gradients (a surrogate and REINFORCE share their gradient only).
    """

    policy: str
    old: str
    parent: Callable[..., Any]
    value: bool = False


@dataclass(frozen=True)
class Case:
    """One call ``call(**inputs, **options)`` and what its inputs mean; properties follow from the roles.

    inputs: generic tensors by name: finite, with ragged lengths and groups, something masked, no accidental ties.
    real: names of the real-valued inputs. differentiable: those of them that receive gradient.

    masks: mask -> the inputs it covers. A mask is bool, or int64 (−1 leaves out), or float (0 leaves out); it covers
    inputs with the same leading or the same trailing dimensions. valid: bool row masks whose False rows must act as if
    they were not there.

    rows, steps: input -> the dimension that runs over rows (steps). result: what the result's dimension ``axis`` runs
    over: 'rows', 'groups' (one number each) or 'whole' (no such dimension). step_axis: the result's dimension over
    steps. groups: the int64 input whose equal ids share a statistic. blind: why no group can be isolated, if so.

    split: 'rows' (each row by itself), 'groups' (whole groups by themselves), or None where a statistic spans all rows;
    parts: the same result out of micro-batches, where a rule of its own adds them up.

    moves, degrees, limits, ratio: behaviour stated as data. effects: option -> a value that must change the result.
    twin: the readable way to the same result. domain: input -> (low, high), where the mathematics allows fewer values
    than ±1e4; frozen: the call used for finite differences, if statistics are held fixed there. padding: what stands
    in padded entries where NaN, −1 or False would not mean 'nothing'. tolerance: relative, float32, where sums are
    taken in another order. function: the public function this case is for, where ``call`` only adapts it.
    """

    name: str
    call: Callable[..., Any]
    inputs: Inputs
    options: Mapping[str, Any] = field(default_factory=dict)
    real: tuple[str, ...] = ()
    differentiable: tuple[str, ...] = ()
    masks: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    valid: tuple[str, ...] = ()
    rows: Mapping[str, int] = field(default_factory=dict)
    steps: Mapping[str, int] = field(default_factory=dict)
    result: Literal["rows", "groups", "whole"] = "rows"
    axis: int = 0
    step_axis: int | None = None
    groups: str | None = None
    blind: str | None = None
    split: Literal["rows", "groups"] | None = None
    parts: Callable[..., Any] | None = None
    moves: tuple[Move, ...] = ()
    degrees: tuple[Degree, ...] = ()
    limits: tuple[Limit, ...] = ()
    ratio: Ratio | None = None
    effects: Mapping[str, Any] = field(default_factory=dict)
    twin: Callable[..., Any] | None = None
    domain: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    frozen: Callable[..., Any] | None = None
    padding: Mapping[str, Any] = field(default_factory=dict)
    tolerance: float = 1e-5
    function: Callable[..., Any] | None = None

    def outputs(self, inputs: Inputs | None = None, **options: Any) -> list[Tensor]:
        """The result as a flat list of tensors."""
        from guerdon.checks.compare import flat

        return flat(self.call(**(self.inputs if inputs is None else inputs), **{**self.options, **options}))

    def with_inputs(self, **changed: Any) -> dict[str, Any]:
        """The inputs with some of them replaced."""
        return {**self.inputs, **changed}


Property = Callable[[Case], None]


def names(inputs: Sequence[str]) -> str:
    """'a, b and c'."""
    return " and ".join([", ".join(inputs[:-1]), inputs[-1]] if len(inputs) > 1 else list(inputs))
