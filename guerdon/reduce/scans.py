"""Sums that run backwards over the steps of a row, plain and discounted, without a loop over steps."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from guerdon.reduce.masked import masked, real


def reverse_cumsum(x: Tensor, mask: Tensor) -> Tensor:
    """Sum of this and all later steps that count: [N, T] -> [N, T]; 0 where the mask is False."""
    return masked(masked(x, mask).flip(-1).cumsum(-1).flip(-1), mask)


def _prepared(x: Tensor, decay: Tensor | float, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    x = real(x)
    rate = torch.as_tensor(decay, dtype=x.dtype, device=x.device).expand(x.shape)
    if mask is None:
        return x, rate
    return masked(x, mask), masked(rate, mask, 1.0)


def discounted_suffix_sum(x: Tensor, decay: Tensor | float, mask: Tensor | None = None) -> Tensor:
    """y_t = x_t + decay_t * y_{t+1}, with y = 0 after the last step: [N, T] -> [N, T].

    decay: a number or [N, T]; a decay of 0 at step t is a reset (nothing flows back across t). A step outside the mask
    adds nothing, does not discount, and reads 0: time passes only where the actor chose. With x the TD errors and decay
    = gamma * lambda this is GAE (Schulman et al. 2015, eq. 16). Computed in ceil(log2 T) doubling steps: after the
    k-th, y_t holds the terms t .. t + 2^k - 1.
    """
    y, rate = _prepared(x, decay, mask)
    width = 1
    while width < y.shape[-1]:
        y = y + rate * F.pad(y[..., width:], (0, width))
        rate = rate * F.pad(rate[..., width:], (0, width))
        width *= 2
    return y if mask is None else masked(y, mask)


def discounted_suffix_sum_loop(x: Tensor, decay: Tensor | float, mask: Tensor | None = None) -> Tensor:
    """The readable twin of `discounted_suffix_sum`: the same recursion, one step at a time.

    For tests and for reading.
    """
    values, rate = _prepared(x, decay, mask)
    y = values.new_zeros(values.shape[:-1])
    out: list[Tensor] = []
    for t in reversed(range(values.shape[-1])):
        y = values[..., t] + rate[..., t] * y
        out.append(y)
    stacked = torch.stack(out[::-1], -1) if out else values.clone()
    return stacked if mask is None else masked(stacked, mask)
