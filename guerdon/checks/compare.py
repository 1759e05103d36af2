"""Results as flat lists of tensors, their gradients, and what counts as equal."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from guerdon.checks.case import Case, CheckFailed, Inputs


def flat(result: Any) -> list[Tensor]:
    """Every tensor and number of a result, in order: tuples, mappings and dataclasses are opened, None left out."""
    if isinstance(result, Tensor):
        return [result]
    if isinstance(result, bool | int | float):
        return [torch.tensor(result, dtype=torch.float64)]
    if result is None or isinstance(result, str):
        return []
    if isinstance(result, Mapping):
        return [t for value in result.values() for t in flat(value)]
    if isinstance(result, Sequence):
        return [t for value in result for t in flat(value)]
    if dataclasses.is_dataclass(result) and not isinstance(result, type):
        return [t for f in dataclasses.fields(result) for t in flat(getattr(result, f.name))]
    raise TypeError(f"A checked result holds tensors and numbers, but a {type(result).__name__} came.")


def with_gradient(case: Case, inputs: Inputs | None = None, **options: Any) -> tuple[list[Tensor], dict[str, Tensor]]:
    """(outputs, gradient of a fixed generic weighting of them by differentiable input; zeros where none arrives)."""
    inputs = dict(case.inputs if inputs is None else inputs)
    for name in case.differentiable:
        if isinstance(inputs[name], Tensor):
            inputs[name] = inputs[name].detach().clone().requires_grad_()
    out = case.outputs(inputs, **options)
    return [t.detach() for t in out], gradient(out, {n: inputs[n] for n in case.differentiable if n in inputs})


def gradient(out: Sequence[Tensor], leaves: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Gradient of Σ w·out, w fixed generic numbers by position, with respect to the leaves."""
    parts = [(t * weights(t)).sum() for t in out if t.is_floating_point() and t.requires_grad and t.numel()]
    if not parts or not leaves:
        return {name: torch.zeros_like(x) for name, x in leaves.items()}
    found = torch.autograd.grad(
        torch.stack([p.double() for p in parts]).sum(), list(leaves.values()), allow_unused=True
    )
    pairs = zip(leaves.items(), found, strict=True)
    return {name: torch.zeros_like(x) if g is None else g for (name, x), g in pairs}


def weights(x: Tensor) -> Tensor:
    """Generic numbers in (0.5, 1.5) in the shape of x, the same for every call."""
    at = torch.arange(1, x.numel() + 1, dtype=torch.float64, device=x.device)
    return (0.5 + (at * 0.6180339887498949).frac()).reshape(x.shape).to(x.dtype)


def close(a: Tensor, b: Tensor, tolerance: float) -> bool:
    """Same shape, and equal up to tolerance relative to the largest entry (floats) or exactly (bool, int)."""
    if a.shape != b.shape:
        return False
    if not (a.is_floating_point() or b.is_floating_point()):
        return torch.equal(a, b)
    a, b = a.double(), b.double()
    same = (a == b) | ((a - b).abs() <= tolerance * (1 + finite_max(b)))
    return bool(same.all())


def finite_max(x: Tensor) -> Tensor:
    """Largest finite magnitude, 0 for none."""
    kept = torch.where(torch.isfinite(x), x, torch.zeros_like(x)).abs()
    return kept.max() if kept.numel() else kept.new_zeros(())


def demand(ok: bool, case: Case, sentence: str) -> None:
    """Raise CheckFailed with the case's name where ``ok`` is False."""
    if not ok:
        raise CheckFailed(f"{case.name}: {sentence}")


def same(case: Case, got: Sequence[Tensor], expected: Sequence[Tensor], sentence: str, tolerance: float) -> None:
    """Raise CheckFailed where two lists of outputs differ; tolerance 0 means bit by bit."""
    demand(len(got) == len(expected), case, f"{sentence} ({len(got)} outputs instead of {len(expected)}).")
    for a, b in zip(got, expected, strict=True):
        equal = torch.equal(a, b) if tolerance == 0 else close(a, b, tolerance)
        if not equal:
            raise CheckFailed(f"{case.name}: {sentence}{gap(a, b)}.")


def gap(a: Tensor, b: Tensor) -> str:
    """How far two tensors are apart, in words."""
    if a.shape != b.shape:
        return f", but the shape became {list(a.shape)} instead of {list(b.shape)}"
    far = (a.double() - b.double()).abs()
    if bool(torch.isnan(far).any()):
        return ", but NaN or infinity came"
    return f", but the largest difference is {float(far.max()):.3g}"


def kept(mask: Tensor) -> Tensor:
    """What a mask of any kind lets through: True, an id that is not negative, a weight that is not 0."""
    if mask.dtype == torch.bool:
        return mask
    return mask != 0 if mask.is_floating_point() else mask >= 0


def over(mask: Tensor, x: Tensor) -> Tensor:
    """A mask in the shape of x: leading dimensions where they agree, else trailing ones."""
    keep = kept(mask)
    if keep.shape == x.shape[: keep.ndim]:
        keep = keep.reshape(*keep.shape, *(1 for _ in range(x.ndim - keep.ndim)))
    return keep.expand(x.shape)
