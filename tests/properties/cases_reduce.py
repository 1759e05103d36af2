"""Cases of guerdon.reduce."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from guerdon import reduce
from guerdon.checks import Case, Degree, Limit, Move
from tests.properties.examples import IDS, MASK, OK, ROWS, SPANS, STEPS, real, unit

X = real(ROWS, STEPS)
ROW = {"x": 0, "mask": 0}
STEP = {"x": 1, "mask": 1}


def row_case(function: Callable[..., Any], **roles: Any) -> Case:
    """A function of x and mask [N,T]."""
    given: dict[str, Any] = {
        "real": ("x",),
        "differentiable": ("x",),
        "masks": {"mask": ("x",)},
        "rows": ROW,
        "steps": STEP,
        "split": "rows",
        "degrees": (Degree(("x",), 1.0),),
        "function": function,
        **roles,
    }
    return Case(f"reduce.{function.__name__}", function, {"x": X, "mask": MASK}, **given)


def whole_case(function: Callable[..., Any], **roles: Any) -> Case:
    """A statistic of all entries."""
    return row_case(function, **{"result": "whole", "split": None, **roles})


def group_case(function: Callable[..., Any], **roles: Any) -> Case:
    """A function of x [N], ids [N] and ok [N]."""
    given: dict[str, Any] = {
        "real": ("x",),
        "differentiable": ("x",),
        "masks": {"ids": ("x",), "ok": ("x",)},
        "valid": ("ok",),
        "rows": {"x": 0, "ids": 0, "ok": 0},
        "groups": "ids",
        "split": "groups",
        "degrees": (Degree(("x",), 1.0),),
        "function": function,
        **roles,
    }
    return Case(f"reduce.{function.__name__}", function, {"x": real(ROWS), "ids": IDS, "ok": OK}, **given)


def per_group_case(function: Callable[..., Any], **roles: Any) -> Case:
    """The same with one number a group."""
    given = {"result": "groups", "split": None, **roles}
    options = {"groups": 3, **given.pop("options", {})}
    effects = {"groups": 4, **given.pop("effects", {})}
    return group_case(function, options=options, effects=effects, **given)


def without_x(case: Case, function: Callable[..., Any]) -> Case:
    """A count: ids and ok alone."""
    inputs = {k: v for k, v in case.inputs.items() if k != "x"}
    rows = {k: v for k, v in case.rows.items() if k != "x"}
    masks: dict[str, tuple[str, ...]] = {"ok": ("ids",)}
    return replace(
        case, inputs=inputs, rows=rows, real=(), differentiable=(), masks=masks, degrees=(), moves=(), function=function
    )


def weighted_parts(loss: Tensor, weight: Tensor) -> Tensor:
    whole = weight.sum()
    return sum(  # type: ignore[return-value]
        reduce.weighted_mean(loss[at], weight[at], whole) for at in torch.arange(len(loss)).tensor_split(3)
    )


STAYS = (Move(("x",), 0.0, "group"),)
FOLLOWS = (Move(("x",), 1.0),)
SCALE_FREE = {"degrees": (Degree(("x",), 0.0),)}
WEIGHT = torch.tensor([1.0, 0.0, 2.0, 0.5, 1.0, 1.0, 0.0, 2.0, 1.5, 1.0])
DECAY = unit(ROWS, STEPS, seed=1)

CASES = [
    Case(
        "reduce.real",
        reduce.real,
        {"x": X},
        real=("x",),
        differentiable=("x",),
        rows={"x": 0},
        steps={"x": 1},
        step_axis=1,
        split="rows",
        degrees=(Degree(("x",), 1.0),),
        moves=(Move(("x",), 1.0),),
    ),
    row_case(reduce.masked, step_axis=1, options={"fill": 0.0}, effects={"fill": 3.0}),
    Case(
        "reduce.lengths",
        reduce.lengths,
        {"mask": MASK},
        masks={"mask": ()},
        rows={"mask": 0},
        steps={"mask": 1},
        split="rows",
    ),
    row_case(reduce.total),
    row_case(reduce.average),
    row_case(reduce.masked_max, effects={"empty": 3.0}),
    row_case(reduce.masked_min, effects={"empty": 3.0}),
    whole_case(reduce.mean_all, moves=(Move(("x",), 1.0),)),
    whole_case(
        reduce.var_all,
        degrees=(Degree(("x",), 2.0),),
        moves=(Move(("x",), 0.0),),
        effects={"correction": 0},
    ),
    whole_case(reduce.std_all, moves=(Move(("x",), 0.0),), effects={"correction": 0}),
    Case(
        "reduce.safe_sqrt",
        reduce.safe_sqrt,
        {"x": unit(ROWS)},
        real=("x",),
        differentiable=("x",),
        rows={"x": 0},
        split="rows",
        degrees=(Degree(("x",), 0.5),),
    ),
    Case(
        "reduce.weighted_mean",
        reduce.weighted_mean,
        {"loss": real(ROWS), "weight": WEIGHT},
        real=("loss",),
        differentiable=("loss",),
        masks={"weight": ("loss",)},
        rows={"loss": 0, "weight": 0},
        padding={"weight": 0.0},
        result="whole",
        parts=weighted_parts,
        moves=(Move(("loss",), 1.0),),
        degrees=(Degree(("loss",), 1.0), Degree(("weight",), 0.0)),
        effects={"denominator": 20.0},
        function=reduce.weighted_mean,
    ),
    row_case(reduce.reverse_cumsum, step_axis=1),
    *(
        Case(
            f"reduce.{function.__name__}",
            function,
            {"x": X, "decay": DECAY, "mask": MASK},
            real=("x", "decay"),
            differentiable=("x", "decay"),
            masks={"mask": ("x", "decay")},
            rows={"x": 0, "decay": 0, "mask": 0},
            steps={"x": 1, "decay": 1, "mask": 1},
            step_axis=1,
            split="rows",
            domain={"decay": (0.0, 1.0)},
            degrees=(Degree(("x",), 1.0),),
            limits=(Limit({"decay": 1.0}, lambda x, mask, decay: reduce.reverse_cumsum(x, mask), "reverse_cumsum"),),
            twin=twin,
            function=function,
        )
        for function, twin in (
            (reduce.discounted_suffix_sum, reduce.discounted_suffix_sum_loop),
            (reduce.discounted_suffix_sum_loop, None),
        )
    ),
    replace(
        without_x(group_case(reduce.dense_ids), reduce.dense_ids),
        call=lambda ids, ok: reduce.dense_ids(ids, ok)[0],
        split=None,
    ),
    without_x(group_case(reduce.group_count), reduce.group_count),
    group_case(reduce.group_sum),
    group_case(reduce.group_mean),
    group_case(reduce.group_std, effects={"correction": 0}, moves=STAYS),
    group_case(reduce.group_min),
    group_case(reduce.group_max),
    group_case(
        reduce.group_quantile,
        options={"q": 0.3},
        effects={"q": 0.9},
        limits=(
            Limit({"q": 0.0}, reduce.group_min, "group_min"),
            Limit({"q": 1.0}, reduce.group_max, "group_max"),
        ),
    ),
    group_case(reduce.group_rank, **SCALE_FREE, moves=STAYS, differentiable=()),
    without_x(per_group_case(reduce.per_group_count), reduce.per_group_count),
    per_group_case(reduce.per_group_sum),
    per_group_case(reduce.per_group_mean, moves=FOLLOWS),
    per_group_case(reduce.per_group_std, effects={"correction": 0}, moves=STAYS),
    per_group_case(reduce.per_group_min, moves=FOLLOWS),
    per_group_case(reduce.per_group_max, moves=FOLLOWS),
    per_group_case(
        reduce.per_group_quantile,
        moves=FOLLOWS,
        options={"q": 0.3},
        effects={"q": 0.9},
        limits=(
            Limit({"q": 0.0}, lambda **k: reduce.per_group_min(**k, groups=3), "per_group_min"),
            Limit({"q": 1.0}, lambda **k: reduce.per_group_max(**k, groups=3), "per_group_max"),
        ),
    ),
    Case(
        "reduce.spread",
        reduce.spread,
        {"values": real(3), "ids": IDS, "ok": OK},
        real=("values",),
        differentiable=("values",),
        masks={"ok": ("ids",)},
        valid=("ok",),
        rows={"ids": 0, "ok": 0},
        split="rows",
        degrees=(Degree(("values",), 1.0),),
        function=reduce.spread,
    ),
    group_case(reduce.leave_one_out_mean),
    group_case(reduce.leave_one_out_std, moves=STAYS, effects={"correction": 0}),
    Case(
        "reduce.span_ids",
        lambda spans, ok: reduce.span_ids(spans, ok)[0] >= 0,
        {"spans": SPANS, "ok": MASK},
        masks={"ok": ("spans",)},
        rows={"spans": 0, "ok": 0},
        steps={"spans": 1, "ok": 1},
        step_axis=1,
        split="rows",
        function=reduce.span_ids,
    ),
    *(
        Case(
            f"reduce.{function.__name__}",
            function,
            {"spans": SPANS},
            masks={"spans": ()},
            rows={"spans": 0},
            steps={"spans": 1},
            step_axis=1,
            split="rows",
            function=function,
        )
        for function in (reduce.first_in_span, reduce.last_in_span)
    ),
    Case(
        "reduce.span_count",
        reduce.span_count,
        {"spans": SPANS, "ok": MASK},
        masks={"ok": ("spans",)},
        rows={"spans": 0, "ok": 0},
        steps={"spans": 1, "ok": 1},
        step_axis=1,
        split="rows",
        function=reduce.span_count,
    ),
    Case(
        "reduce.span_sum",
        reduce.span_sum,
        {"x": X, "spans": SPANS, "ok": MASK},
        real=("x",),
        differentiable=("x",),
        masks={"spans": ("x",), "ok": ("x", "spans")},
        rows={"x": 0, "spans": 0, "ok": 0},
        steps={"x": 1, "spans": 1, "ok": 1},
        step_axis=1,
        split="rows",
        degrees=(Degree(("x",), 1.0),),
        function=reduce.span_sum,
    ),
    Case(
        "reduce.spread_from_last",
        reduce.spread_from_last,
        {"x": X, "spans": SPANS},
        real=("x",),
        differentiable=("x",),
        masks={"spans": ("x",)},
        rows={"x": 0, "spans": 0},
        steps={"x": 1, "spans": 1},
        step_axis=1,
        split="rows",
        degrees=(Degree(("x",), 1.0),),
        moves=(),
        function=reduce.spread_from_last,
    ),
]
