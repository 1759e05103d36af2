"""Root-mean-square normalisation with a backward pass of few sweeps over memory.

transformers' module writes a dozen temporaries a call; beside small matrix products that shows.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


class _Rms(torch.autograd.Function):
    """y = w·x·r, r = (mean x² + ε)^−½. With g' = g·w: dx = r·g' − x·r³·mean(g'·x), dw = Σ_rows g·x·r."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float, as_type: torch.dtype) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            inverse = torch.linalg.vecdot(x, x).div_(x.shape[-1]).add_(eps).rsqrt_()
            ctx.save_for_backward(x, weight, inverse)
            return (x * inverse[:, None]).mul_(weight).to(as_type)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, inverse = ctx.saved_tensors
        (grad,) = grads
        product = grad * x
        along = (product @ weight).mul_(inverse.pow(3)).div_(-x.shape[-1])
        to_x = (grad * weight).mul_(inverse[:, None]).addcmul_(x, along[:, None])
        return to_x, inverse @ product if ctx.needs_input_grad[1] else None, None, None


def normed(norm: Any, x: Tensor) -> Tensor:
    """``norm(x)`` for x [n,D], norm one of transformers' RMS norms (``weight``, ``variance_epsilon``). Under autocast
    in its type, so that the matrix products it goes into do not cast it one after the other."""
    if not x.dtype == norm.weight.dtype == torch.float32:
        return norm(x)
    kind = x.device.type
    as_type = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype
    return _Rms.apply(x, norm.weight, norm.variance_epsilon, as_type)
