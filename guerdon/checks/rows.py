"""Rows and groups: nothing depends on how a batch is cut, ordered, or on what other groups hold."""

from __future__ import annotations

import torch
from torch import Tensor

from guerdon.checks.case import Case, Inputs, NotApplicable
from guerdon.checks.compare import demand, flat, gradient, same, with_gradient


def count(case: Case) -> int:
    """The number of rows."""
    name, axis = next(iter(case.rows.items()))
    return int(case.inputs[name].shape[axis])


def select(case: Case, at: Tensor, inputs: Inputs | None = None) -> dict[str, object]:
    """The inputs of the rows numbered ``at``, in that order."""
    inputs = case.inputs if inputs is None else inputs
    return {k: x.index_select(case.rows[k], at) if k in case.rows else x for k, x in inputs.items()}


def split_invariance(case: Case) -> None:
    """Micro-batches give the value and gradient of the whole."""
    out, grads = with_gradient(case)
    if case.parts is not None:
        inputs = dict(case.inputs)
        leaves = {n: inputs[n].detach().clone().requires_grad_() for n in case.differentiable}
        there = flat(case.parts(**{**inputs, **leaves}, **case.options))
        same(case, [t.detach() for t in there], out, "micro-batches must add up to the whole", case.tolerance)
        for name, g in gradient(there, leaves).items():
            sentence = f"micro-batches must add up to the gradient to {name!r}"
            same(case, [g], [grads[name]], sentence, case.tolerance)
        return
    if case.split is None or not case.rows:
        raise NotApplicable("its statistics span all its rows, so a part of them is another question")
    if case.result != "rows":
        raise NotApplicable("its result has no rows to put together")
    n = count(case)
    if case.split == "groups":
        demand(case.groups is not None, case, "it says to split along groups but names no group ids.")
        side = case.inputs[case.groups].reshape(n, -1).amax(-1) % 2  # type: ignore[index]
        cuts = [(side == s).nonzero().squeeze(-1) for s in (0, 1)]
    else:
        cuts = list(torch.arange(n).tensor_split(3))
    for at in cuts:
        expected = [t.index_select(case.axis, at) for t in out]
        sentence = "a micro-batch of whole " + case.split + " must give what the whole batch gives"
        same(case, case.outputs(select(case, at)), expected, sentence, case.tolerance)


def permutation_equivariance(case: Case) -> None:
    """Permuted rows give permuted results, or the same one where the result has no rows."""
    if not case.rows:
        raise NotApplicable("its inputs have no rows")
    n = count(case)
    order = torch.arange(n).flip(0).roll(2)  # neither the first nor the last row stays where it was
    out = case.outputs()
    expected = [t.index_select(case.axis, order) for t in out] if case.result == "rows" else out
    moved = "move with them" if case.result == "rows" else "stay the same"
    same(
        case,
        case.outputs(select(case, order)),
        expected,
        f"when rows are permuted the result must {moved}",
        case.tolerance,
    )


def group_isolation(case: Case) -> None:
    """Another group's values change nothing, bit by bit."""
    if case.groups is None:
        raise NotApplicable("it knows no groups")
    if case.blind is not None:
        raise NotApplicable(case.blind)
    if case.result == "whole":
        raise NotApplicable("its result belongs to no group")
    ids = case.inputs[case.groups]
    changed = int(ids.max())
    other = ids != changed
    inputs = dict(case.inputs)
    for name in case.real:
        if name not in case.rows:
            continue
        x = inputs[name]
        inside = _spread(other, x, case.rows[name])
        inputs[name] = torch.where(inside, x, 3.0 * x + 1.0)
    sentence = "a change in one group must leave the others' results as they are, bit by bit"
    for a, b in zip(case.outputs(inputs), case.outputs(), strict=True):
        if case.result == "groups":
            rest = torch.arange(len(a)) != changed
            same(case, [a[rest]], [b[rest]], sentence, 0)
        else:
            inside = _spread(other, a, case.axis)
            same(case, [a[inside]], [b[inside]], sentence, 0)


def _spread(rows: Tensor, x: Tensor, axis: int) -> Tensor:
    """Group membership in the shape of x: ids of x's own shape, or of its rows."""
    if rows.shape == x.shape:
        return rows
    shape = [1] * x.ndim
    shape[axis : axis + rows.ndim] = list(rows.shape)
    return rows.reshape(shape).expand(x.shape)
