"""Cases of guerdon.shaping."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from guerdon import shaping
from guerdon.batch import Channel, Partition, Samples, Status, Steps, TokenRows
from guerdon.checks import Case, Degree, Limit, Move, transform_case
from tests.properties.examples import EVERY, MASK, OK, ROWS, SPANS, STEPS, real

VALUE = real(ROWS, seed=1)
STATUS = torch.where(OK, 0, int(Status.NOT_APPLICABLE)).to(torch.int8)
SAMPLES = Samples(
    TokenRows(torch.ones(ROWS, STEPS, dtype=torch.int64), torch.ones(ROWS, STEPS, dtype=torch.bool), MASK),
    [f"prompt {i}" for i in EVERY.tolist()],
    columns={"length": [float(3 * i % 7) for i in range(ROWS)]},
    partitions={"prompt": Partition(EVERY)},
)
CHANNEL = Channel(torch.where(OK, VALUE, torch.nan), STATUS)
STAYS = (Move(("value",), 0.0, "group"),)
NEVER_MOVES = (Move(("value",), 0.0),)
NO_DEGREE = (Degree(("value",), 0.0),)
FIRST_DEGREE = (Degree(("value",), 1.0),)


def transformed(
    build: Callable[..., Any],
    options: Mapping[str, Any] | None = None,
    effects: Mapping[str, Any] | None = None,
    limits: tuple[Limit, ...] = (),
    **roles: Any,
) -> Case:
    """A function that makes transforms: its arguments are the options of the case."""
    options = options or {}
    case = transform_case(build(**options), CHANNEL, SAMPLES, **roles)

    def call(**given: Any) -> Any:
        chosen = {k: given.pop(k) for k in list(given) if k not in case.inputs}
        made = transform_case(build(**{**options, **chosen}), CHANNEL, SAMPLES)
        return made.call(**{k: given.get(k, x) for k, x in made.inputs.items()})

    title = f"shaping.{build.__name__}" + (f"[{options['partition']}]" if "partition" in options else "")
    return replace(case, name=title, call=call, effects=effects or {}, limits=limits, function=build)


def identity(value: Tensor, ok: Tensor, order: Tensor, ids: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The transform that does nothing."""
    return torch.where(ok, value, 0.0), torch.where(ok, 0, 1).to(torch.int8)


def cubed(x: Tensor) -> tuple[Tensor, Tensor]:
    return x**3, 3 * x**2


BY_ROW: dict[str, Any] = {"split": "rows"}
ALL_ROWS: dict[str, Any] = {"split": None}
UNCHANGED = Limit({}, identity, "the identity")

TRANSFORMS = [
    transformed(shaping.centre, effects={"partition": "batch"}, moves=STAYS, degrees=FIRST_DEGREE),
    transformed(shaping.centre, {"partition": "running"}, moves=NEVER_MOVES, degrees=FIRST_DEGREE, **ALL_ROWS),
    transformed(
        shaping.zscore,
        effects={"partition": "batch", "eps": 0.3, "correction": 0},
        moves=STAYS,
        degrees=NO_DEGREE,  # up to ε, 1e-6 of a deviation
    ),
    transformed(shaping.zscore, {"partition": "running", "eps": 0.0}, moves=NEVER_MOVES, degrees=NO_DEGREE, **ALL_ROWS),
    transformed(
        shaping.minmax,
        {"partition": "prompt"},
        {"partition": "batch"},
        moves=STAYS,
        degrees=NO_DEGREE,
    ),
    transformed(shaping.minmax, {"partition": "running"}, moves=NEVER_MOVES, degrees=NO_DEGREE, **ALL_ROWS),
    transformed(shaping.running_clip, effects={"width": 0.5, "correction": 0}, degrees=FIRST_DEGREE, **ALL_ROWS),
    transformed(
        shaping.affine,
        effects={"factor": 2.0, "offset": 1.0},
        limits=(replace(UNCHANGED, options={"factor": 1.0, "offset": 0.0}),),
        degrees=FIRST_DEGREE,
        **BY_ROW,
    ),
    transformed(
        shaping.scale,
        {"factor": 2.0},
        {"factor": 3.0},
        (replace(UNCHANGED, options={"factor": 1.0}),),
        degrees=FIRST_DEGREE,
        **BY_ROW,
    ),
    transformed(
        shaping.offset, {"amount": 2.0}, {"amount": 3.0}, (replace(UNCHANGED, options={"amount": 0.0}),), **BY_ROW
    ),
    transformed(
        shaping.clip,
        {"low": -0.5, "high": 0.5},
        {"low": -0.1, "high": 0.1},
        (replace(UNCHANGED, options={"low": -1e9, "high": None}),),
        **BY_ROW,
    ),
    *(
        transformed(function, effects={"factor": 2.0, "centre": 1.0}, **BY_ROW)
        for function in (shaping.sigmoid, shaping.log_sigmoid, shaping.tanh)
    ),
    transformed(
        shaping.pointwise, {"function": cubed, "name": "cubed"}, {"function": lambda x: (2 * x, 2.0)}, **BY_ROW
    ),
    transformed(
        shaping.length_residual, effects={"partition": "prompt", "column": "length"}, degrees=FIRST_DEGREE, **ALL_ROWS
    ),
    transformed(
        shaping.soft_overlong,
        {"limit": 4, "buffer": 3},
        {"limit": 5, "buffer": 2, "coefficient": 2.0, "column": "length"},
        (replace(UNCHANGED, options={"coefficient": 0.0}),),
        **BY_ROW,
    ),
    transformed(
        shaping.linear_length,
        {"free": 2, "coefficient": 0.5},
        {"free": 1, "coefficient": 1.0, "column": "length"},
        (replace(UNCHANGED, options={"coefficient": 0.0}),),
        **BY_ROW,
    ),
]

LENGTH = MASK.sum(-1)
LENGTHS = [
    Case(
        "shaping.soft_overlong_penalty",
        shaping.soft_overlong_penalty,
        {"length": LENGTH},
        {"limit": 4, "buffer": 3},
        rows={"length": 0},
        split="rows",
        effects={"limit": 5, "buffer": 2},
    ),
    Case(
        "shaping.linear_length_penalty",
        shaping.linear_length_penalty,
        {"length": LENGTH},
        {"free": 2, "coefficient": 0.5},
        rows={"length": 0},
        split="rows",
        effects={"free": 1, "coefficient": 1.0},
    ),
    Case(
        "shaping.lengths_of",
        lambda order, column=None: shaping.lengths_of(SAMPLES.take(order), column),
        {"order": torch.arange(ROWS)},
        rows={"order": 0},
        split="rows",
        effects={"column": "length"},
        function=shaping.lengths_of,
    ),
]

CHANNELS = real(3, ROWS, seed=2)
VALID = torch.ones(3, ROWS, dtype=torch.bool)
VALID[0, 3] = VALID[1, 0] = VALID[2, 7] = False
NAMES = ("a", "b", "c")


def combined(build: Callable[..., Any], options: Mapping[str, Any] | None = None, **roles: Any) -> Case:
    """A function that makes combinations of channels."""
    base = options or {}

    def call(values: Tensor, ok: Tensor, **chosen: Any) -> Any:
        state = chosen.pop("state", None)
        combine = build(**{**base, **chosen})
        return combine(NAMES, values, ok, combine.init() if state is None else state)

    given: dict[str, Any] = {
        "real": ("values",),
        "differentiable": ("values",),
        "masks": {"ok": ("values",)},
        "rows": {"values": 1, "ok": 1},
        "split": "rows",
        "degrees": (Degree(("values",), 1.0),),
        "moves": (Move(("values",), 1.0),),
        **roles,
    }
    inputs = {"values": CHANNELS, "ok": VALID}
    return Case(f"shaping.{build.__name__}", call, inputs, function=build, **given)


def whole_mean(values: Tensor, ok: Tensor) -> Any:
    return shaping.mean()(NAMES, values, ok, {})


COMBINATIONS = [
    combined(
        shaping.weighted_sum,
        moves=(),
        effects={"weights": {"a": 1.0, "b": 2.0, "c": 0.5}, "state": {"weights": torch.tensor([1.0, 0.0, 2.0])}},
    ),
    combined(shaping.mean),
    combined(shaping.median),
    combined(shaping.minimum),
    combined(shaping.maximum),
    combined(shaping.product, moves=(), degrees=()),
    combined(
        shaping.mean_minus_std,
        {"coefficient": 0.5},
        effects={"coefficient": 1.0, "correction": 1},
        limits=(Limit({"coefficient": 0.0}, whole_mean, "mean"),),
    ),
    combined(
        shaping.uncertainty_weighted,
        {"coefficient": 0.5},
        degrees=(),
        effects={"coefficient": 1.0, "correction": 1},
        limits=(Limit({"coefficient": 0.0}, whole_mean, "mean"),),
    ),
    combined(
        shaping.lagrangian,
        {"base": "a", "constraints": ("b",)},
        moves=(),
        effects={
            "equality": True,
            "constraints": ("c",),
            "base": "c",
            "state": {"multipliers": torch.tensor([1.0])},
        },
    ),
    combined(shaping.minimum_norm, split=None, moves=(), differentiable=()),
    Case(
        "shaping.minimum_norm_weights",
        shaping.minimum_norm_weights,
        {"gradients": real(3, 6)},
        real=("gradients",),
        rows={"gradients": 0},
        degrees=(Degree(("gradients",), 0.0),),
    ),
    Case(
        "shaping.dual_step",
        shaping.dual_step,
        {"lambdas": real(3, seed=1), "gaps": real(3, seed=2)},
        real=("lambdas", "gaps"),
        rows={"lambdas": 0, "gaps": 0},
        effects={"lr": 0.1, "equality": True, "momentum": real(3), "clip": 0.01},
    ),
    Case(
        "shaping.dual_step[momentum]",
        shaping.dual_step,
        {"lambdas": real(3, seed=1), "gaps": real(3, seed=2), "momentum": real(3)},
        {"clip": None},
        real=("lambdas", "gaps", "momentum"),
        rows={"lambdas": 0, "gaps": 0, "momentum": 0},
        split="rows",
        effects={"friction": 0.5},
        limits=(
            Limit(
                {"friction": 0.0},
                lambda lambdas, gaps, momentum: shaping.dual_step(lambdas, gaps, clip=None),
                "a step without momentum",
            ),
        ),
        function=shaping.dual_step,
    ),
]

ANCHORED: dict[str, Any] = {
    "real": ("r", "refs"),
    "differentiable": ("r",),
    "masks": {"mask": ("refs",)},
    "rows": {"r": 0, "refs": 0, "mask": 0},
    "steps": {"refs": 1, "mask": 1},
    "split": "rows",
}


def anchored(build: Callable[..., Any], effects: Mapping[str, Any], **roles: Any) -> Case:
    """A function that makes maps of a reward and its anchors."""

    def call(r: Tensor, refs: Tensor, mask: Tensor, **chosen: Any) -> Tensor:
        return build(**chosen)(r, refs, mask)

    inputs = {"r": VALUE, "refs": real(ROWS, STEPS, seed=3), "mask": MASK}
    given = {**ANCHORED, "moves": (Move(("r", "refs"), 0.0),), **roles}
    return Case(f"shaping.{build.__name__}", call, inputs, effects=effects, function=build, **given)


ANCHORS = [
    anchored(shaping.par, {"k": 2.0}),
    anchored(shaping.lsc, {"quantile": 0.5}),
    anchored(shaping.contrast, {"aggregate": "quantile"}, degrees=(Degree(("r", "refs"), 1.0),)),
    anchored(shaping.anchored_tanh, {"k": 2.0}),
    anchored(shaping.sgfc, {"shift": 1.0}, limits=()),
    anchored(shaping.polynomial, {"degree": 3, "reach": 3.0}),
]


def credited(build: Callable[..., Any], options: Mapping[str, Any] | None = None, **roles: Any) -> Case:
    """A function that makes credit maps."""
    base = options or {}

    def call(value: Tensor, ok: Tensor, mask: Tensor, spans: Tensor, **chosen: Any) -> tuple[Tensor, Tensor]:
        status = torch.where(ok, 0, 1).to(torch.int8)
        steps = Steps(mask, spans={"turn": spans, "thought": torch.where(spans == 0, 0, -1)})
        out = build(**{**base, **chosen})(Channel(value, status), steps)
        return out.filled(), out.statuses()

    inputs = {"value": VALUE, "ok": OK, "mask": MASK, "spans": SPANS}
    given: dict[str, Any] = {
        "real": ("value",),
        "differentiable": ("value",),
        "masks": {"ok": ("value",), "mask": ("spans",)},
        "valid": ("ok",),
        "rows": dict.fromkeys(inputs, 0),
        "steps": {"mask": 1, "spans": 1},
        "step_axis": 1,
        "split": "rows",
        "degrees": (Degree(("value",), 1.0),),
        **roles,
    }
    return Case(f"shaping.{build.__name__}", call, inputs, function=build, **given)


def along(function: Callable[..., Any], inputs: dict[str, Tensor], **roles: Any) -> Case:
    """A function of values along the steps."""
    wide = tuple(k for k, x in inputs.items() if x.shape == (ROWS, STEPS))
    mask = "scored" if "scored" in inputs else "mask"
    floats = tuple(k for k, x in inputs.items() if x.is_floating_point())
    given: dict[str, Any] = {
        "real": floats,
        "differentiable": floats,
        "masks": {mask: tuple(k for k in wide if k != mask)},
        "rows": dict.fromkeys(inputs, 0),
        "steps": dict.fromkeys(wide, 1),
        "step_axis": 1,
        "split": "rows",
        "function": function,
        **roles,
    }
    return Case(f"shaping.{function.__name__}", function, inputs, **given)


SCORE = {"score": real(ROWS, STEPS, seed=4), "scored": MASK}
RATIO = {"log_ratio": real(ROWS, STEPS, seed=5), "mask": MASK}
PHI = {
    "phi": real(ROWS, STEPS, seed=6),
    "mask": MASK,
    "terminated": torch.tensor([True, False] * (ROWS // 2)),
    "next_phi": real(ROWS, STEPS, seed=7),
}

CREDIT = [
    credited(shaping.terminal),
    credited(shaping.uniform, effects={"repeat": True}),
    credited(shaping.span_terminal, {"level": "turn"}, effects={"level": "thought"}),
    along(
        shaping.kl_in_reward,
        RATIO,
        options={"coefficient": 0.1},
        differentiable=(),
        degrees=(Degree(("log_ratio",), 1.0),),
        effects={"coefficient": 0.2, "estimator": "k2", "clip": 0.1},
    ),
    along(
        shaping.with_terminal_reward,
        {"reward": VALUE, "mask": MASK, "ok": OK, "step_reward": real(ROWS, STEPS, seed=8)},
        masks={"mask": ("step_reward",), "ok": ("reward",)},
        valid=("ok",),
        degrees=(Degree(("reward", "step_reward"), 1.0),),
    ),
    along(
        shaping.potential,
        PHI,
        options={"gamma": 0.9},
        padding={"terminated": True},
        degrees=(Degree(("phi", "next_phi"), 1.0),),
        effects={"gamma": 0.5},
    ),
    along(shaping.clipped_process, SCORE, options={"threshold": 0.2}, effects={"threshold": -0.5}),
    along(shaping.delta_process, SCORE, degrees=(Degree(("score",), 1.0),)),
    along(
        shaping.clip_delta,
        SCORE,
        options={"threshold": 0.2},
        effects={"threshold": -0.5},
    ),
]

CASES = [*TRANSFORMS, *LENGTHS, *COMBINATIONS, *ANCHORS, *CREDIT]
