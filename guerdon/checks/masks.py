"""What is not there changes nothing: masked entries, padding, invalid rows."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from guerdon.checks.case import Case, Inputs, NotApplicable
from guerdon.checks.compare import demand, kept, over, same, with_gradient


def mask_invariance(case: Case) -> None:
    """NaN and 1e9 under a mask change neither value nor gradient by a bit, and no gradient arrives under it."""
    if not case.masks:
        raise NotApplicable("it takes no mask")
    masks = {mask: covered for mask, covered in case.masks.items() if covered}
    if not masks:
        raise NotApplicable("its mask covers no values")
    out, grads = with_gradient(case)
    for mask, covered in masks.items():
        for fill in (float("nan"), 1e9):
            inputs = dict(case.inputs)
            hidden = 0
            for name in covered:
                inside = over(inputs[mask], inputs[name])
                inputs[name] = torch.where(inside, inputs[name], _fill(inputs[name], fill))
                hidden += int((~inside).sum())
            demand(hidden > 0, case, f"the example hides nothing under {mask!r}, so it cannot show anything.")
            there, grads_there = with_gradient(case, inputs)
            what = f"{fill:g} where {mask!r} is False must not change"
            same(case, there, out, f"{what} the result", 0)
            for name, g in grads_there.items():
                same(case, [g], [grads[name]], f"{what} the gradient to {name!r}", 0)
    for name, g in grads.items():
        for mask in (m for m, covered in case.masks.items() if name in covered):
            outside = g[~over(case.inputs[mask], g)]
            demand(not bool(outside.any()), case, f"gradient reaches {name!r} where {mask!r} is False.")


def _fill(x: Tensor, fill: float) -> Tensor:
    if x.is_floating_point():
        return torch.full_like(x, fill)
    if x.dtype == torch.bool:
        return torch.full_like(x, fill == 1e9)
    return torch.full_like(x, -100 if fill == 1e9 else 7)


def pad_invariance(case: Case) -> None:
    """Columns and rows of padding, left or right, change no other entry; the padded entries hold junk."""
    if not (case.masks or case.groups):
        raise NotApplicable("it takes no mask, so nothing can be marked as padding")
    if not (case.steps or case.rows):
        raise NotApplicable("its inputs have neither rows nor steps")
    out, grads = with_gradient(case)
    ways = [("columns", case.steps, case.step_axis)] if case.steps else []
    if case.rows:
        ways.append(("rows", case.rows, case.axis if case.result == "rows" else None))
    for what, axes, result_axis in ways:
        for left, right in ((2, 0), (0, 2)):
            padded = _padded(case, axes, left, right)
            there, grads_there = with_gradient(case, padded)
            if result_axis is not None:
                there = [t.narrow(result_axis, left, t.shape[result_axis] - left - right) for t in there]
            side = "left" if left else "right"
            same(case, there, out, f"padding {what} on the {side} must not change the result", case.tolerance)
            if result_axis is None or case.result != "rows":
                for name, g in grads_there.items():
                    if name in axes:
                        g = g.narrow(axes[name], left, g.shape[axes[name]] - left - right)
                    sentence = f"padding {what} on the {side} must not change the gradient to {name!r}"
                    same(case, [g], [grads[name]], sentence, case.tolerance)


def _padded(case: Case, axes: dict[str, int] | Any, left: int, right: int) -> Inputs:
    inputs = dict(case.inputs)
    for name, axis in axes.items():
        x = inputs[name]

        def block(size: int, x: Tensor = x, axis: int = axis, name: str = name) -> Tensor:
            shape = list(x.shape)
            shape[axis] = size
            default: Any = False if x.dtype == torch.bool else float("nan") if x.is_floating_point() else -1
            return torch.full(shape, case.padding.get(name, default), dtype=x.dtype)

        inputs[name] = torch.cat([block(left), x, block(right)], axis)
    return inputs


def invalid_not_zero(case: Case) -> None:
    """Rows marked invalid act as rows that are not there, which is another thing than rows that hold 0."""
    if not case.valid:
        raise NotApplicable("it takes no validity by row")
    if not case.rows:
        raise NotApplicable("its inputs have no rows that could be removed")
    out = case.outputs()
    for name in case.valid:
        keep = kept(case.inputs[name])
        demand(bool((~keep).any()), case, f"the example has no row that {name!r} calls invalid.")
        at = keep.nonzero().squeeze(-1)
        fewer = {key: x.index_select(case.rows[key], at) if key in case.rows else x for key, x in case.inputs.items()}
        expected = [t.index_select(case.axis, at) for t in out] if case.result == "rows" else out
        sentence = f"the rows that {name!r} calls invalid must act as if they were not there"
        same(case, case.outputs(fewer), expected, sentence, case.tolerance)
