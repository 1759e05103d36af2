"""Arithmetic: gradients that are gradients, extreme inputs, precision."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from guerdon.checks.case import Case, CheckFailed, Inputs, NotApplicable
from guerdon.checks.compare import demand, flat, same, with_gradient
from guerdon.errors import GuerdonError


def doubled(case: Case) -> dict[str, Any]:
    """The inputs in float64."""
    return {k: x.double() if isinstance(x, Tensor) and x.is_floating_point() else x for k, x in case.inputs.items()}


def finite_difference_gradient(case: Case) -> None:
    """The gradient is that of finite differences, in float64."""
    if not case.differentiable:
        raise NotApplicable("its result carries no gradient")
    inputs = doubled(case)
    call = case.frozen or case.call

    def function(*leaves: Tensor) -> tuple[Tensor, ...]:
        out = flat(call(**{**inputs, **dict(zip(case.differentiable, leaves, strict=True))}, **case.options))
        return tuple(t for t in out if t.is_floating_point() and t.requires_grad)

    leaves = tuple(inputs[n].detach().clone().requires_grad_() for n in case.differentiable)
    demand(len(function(*leaves)) > 0, case, f"no gradient arrives at {', '.join(case.differentiable)}.")
    try:
        torch.autograd.gradcheck(function, leaves, eps=1e-6, atol=1e-5, rtol=1e-4, fast_mode=True)
    except RuntimeError as error:
        first = " ".join(str(error).split())[:300]
        raise CheckFailed(f"{case.name}: the gradient is not that of finite differences: {first}") from error


def extreme_inputs_finite(case: Case) -> None:
    """The ends of the domain (±1e4 where there is none), and nothing at all, give finite values and gradients."""
    if not case.real:
        raise NotApplicable("it takes no real numbers")
    for which in range(3):
        inputs = {**case.inputs, **{n: _ends(case, n, which, i) for i, n in enumerate(case.real)}}
        _finite(case, inputs, ("its real inputs all low", "all high", "alternately low and high")[which])
    for mask in (m for m in case.masks if case.inputs[m].dtype == torch.bool):
        _finite(case, case.with_inputs(**{mask: torch.zeros_like(case.inputs[mask])}), f"{mask!r} False everywhere")
    if case.rows and case.result != "groups":
        none = torch.zeros(0, dtype=torch.int64)
        empty = {k: x.index_select(case.rows[k], none) if k in case.rows else x for k, x in case.inputs.items()}
        _finite(case, empty, "no rows at all")


def _ends(case: Case, name: str, which: int, offset: int) -> Tensor:
    low, high = case.domain.get(name, (-1e4, 1e4))
    x = case.inputs[name]
    if which < 2:
        return torch.full_like(x, (low, high)[which])
    pick = (torch.arange(x.numel()) + offset) % 2 == 0
    return torch.where(pick.reshape(x.shape), low, high).to(x.dtype)


def _finite(case: Case, inputs: Inputs, what: str) -> None:
    out, grads = with_gradient(case, inputs)
    for t in out:
        demand(bool(torch.isfinite(t).all()), case, f"with {what} the result must stay finite.")
    for name, g in grads.items():
        demand(bool(torch.isfinite(g).all()), case, f"with {what} the gradient to {name!r} must stay finite.")


def dtype_parity(case: Case) -> None:
    """float32 agrees with float64, float64 stays float64, and half precision gives float32 (or is refused)."""
    if not case.real:
        raise NotApplicable("it takes no real numbers")
    single, double = case.outputs(), case.outputs(doubled(case))
    for a, b in zip(single, double, strict=True):
        if a.is_floating_point() and a.dtype != b.dtype:
            demand(a.dtype == torch.float32, case, f"float32 inputs must give float32, but {a.dtype} came.")
            demand(b.dtype == torch.float64, case, f"float64 inputs must give float64, but {b.dtype} came.")
    same(case, [t.double() for t in single], [t.double() for t in double], "float32 must agree with float64", 1e-4)
    half = {k: x.bfloat16() if isinstance(x, Tensor) and x.is_floating_point() else x for k, x in case.inputs.items()}
    try:
        out = case.outputs(half)
    except GuerdonError:
        return  # refused in one sentence: as good as converted
    for t in out:
        demand(
            t.dtype not in (torch.bfloat16, torch.float16),
            case,
            f"bfloat16 inputs must give float32, but {t.dtype} came.",
        )
