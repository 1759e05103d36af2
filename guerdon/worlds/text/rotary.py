"""Rotary positions with a backward pass of few sweeps over memory."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


class _Turned(torch.autograd.Function):
    """y = x·cos + (−x₂, x₁)·sin for halves x = (x₁, x₂). The tables' halves are equal, so that the gradient is turned
    back: g·cos + (g₂, −g₁)·sin."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        ctx.save_for_backward(cos, sin)
        return _rotated(x, cos, sin, 1.0)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        cos, sin = ctx.saved_tensors
        return _rotated(grads[0], cos, sin, -1.0), None, None


def turned(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary positions: x [...,D] with constant tables that broadcast against it, each of two equal halves; in the
    wider of the types of x and the tables."""
    return _Turned.apply(x, cos, sin)


def _rotated(x: Tensor, cos: Tensor, sin: Tensor, way: float) -> Tensor:
    half = x.shape[-1] // 2
    x = x.to(torch.promote_types(x.dtype, cos.dtype))
    out = x * cos
    out[..., :half].addcmul_(x[..., half:], sin[..., :half], value=-way)
    out[..., half:].addcmul_(x[..., :half], sin[..., half:], value=way)
    return out
