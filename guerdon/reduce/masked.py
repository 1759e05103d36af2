"""Reductions of a tensor under a mask.

Every function selects with ``torch.where`` before it computes anything, so whatever stands under the mask (NaN and 1e9
included) changes neither a value nor a gradient. Half-precision and integer inputs are reduced in float32; float64
stays float64.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from guerdon.errors import GuerdonError


def real(x: Tensor) -> Tensor:
    """`x` in the precision numbers are kept in: float64 stays, everything else becomes float32.

    Any shape; differentiable.
    """
    return x if x.dtype in (torch.float32, torch.float64) else x.to(torch.float32)


def _checked(x: Tensor, mask: Tensor) -> Tensor:
    if mask.dtype != torch.bool:
        raise GuerdonError(
            f"a mask is a bool tensor, got {mask.dtype}; write `mask.bool()` if its zeros mean 'leave out'"
        )
    if mask.shape != x.shape:
        raise GuerdonError(
            f"values {list(x.shape)} and mask {list(mask.shape)} must have the same shape; expand the smaller one"
        )
    return real(x)


def masked(x: Tensor, mask: Tensor, fill: float = 0.0) -> Tensor:
    """`x` where the mask is True, `fill` elsewhere.

    x, mask: same shape, any rank. The gradient is exactly 0 where the mask is False, also when `x` is NaN or infinite
    there. Raises GuerdonError when the mask is not bool or the shapes differ.
    """
    x = _checked(x, mask)
    return torch.where(mask, x, torch.full((), fill, dtype=x.dtype, device=x.device))


def lengths(mask: Tensor) -> Tensor:
    """Number of True entries along the last dimension: [..., T] -> [...], int64. An empty row has length 0."""
    return mask.sum(-1, dtype=torch.int64)


def total(x: Tensor, mask: Tensor) -> Tensor:
    """Sum over the steps that count: [N, T] -> [N]. A fully masked row gives 0 with gradient 0."""
    return masked(x, mask).sum(-1)


def average(x: Tensor, mask: Tensor) -> Tensor:
    """Mean over the steps that count: [N, T] -> [N]. A fully masked row gives 0 with gradient 0, never NaN."""
    return total(x, mask) / lengths(mask).clamp(min=1)


def masked_max(x: Tensor, mask: Tensor, empty: float = 0.0) -> Tensor:
    """Largest value that counts: [N, T] -> [N].

    Ties share the gradient equally; a fully masked row gives `empty`, gradient 0.
    """
    x = masked(x, mask, -math.inf)
    if x.shape[-1] == 0:
        return x.new_full(x.shape[:-1], empty)
    return masked(x.amax(-1), mask.any(-1), empty)


def masked_min(x: Tensor, mask: Tensor, empty: float = 0.0) -> Tensor:
    """Smallest value that counts: [N, T] -> [N].

    Ties share the gradient equally; a fully masked row gives `empty`, gradient 0.
    """
    return -masked_max(-x, mask, -empty)


def mean_all(x: Tensor, mask: Tensor) -> Tensor:
    """Mean over all entries that count, of any shape -> scalar []. Nothing counting gives 0.

    For statistics (whitening, running moments). A loss uses `weighted_mean`, whose denominator is global.
    """
    return masked(x, mask).sum() / mask.sum().clamp(min=1)


def var_all(x: Tensor, mask: Tensor, correction: int = 1) -> Tensor:
    """Variance over all entries that count, divided by (count - correction) -> scalar []. Two passes, so a large mean
    costs no digits.

    Identical values give exactly 0; count <= correction gives 0.
    """
    kept = masked(x, mask)
    count = mask.sum()
    # Shifting by a member makes identical values exactly equal to 0 before any rounding can happen.
    anchor = kept.detach()[mask][:1].sum()
    kept = masked(kept - anchor, mask)
    deviation = masked(kept - kept.sum() / count.clamp(min=1), mask)
    return torch.where(count > correction, deviation.square().sum() / (count - correction).clamp(min=1), 0.0)


def safe_sqrt(x: Tensor) -> Tensor:
    """Square root whose gradient at 0 is 0 instead of infinite; negative values (rounding) count as 0. Any shape."""
    x = real(x)
    positive = x > 0
    return torch.where(positive, torch.where(positive, x, 1.0).sqrt(), 0.0)


def std_all(x: Tensor, mask: Tensor, correction: int = 1) -> Tensor:
    """Standard deviation over all entries that count -> scalar [].

    Zero variance gives 0 with gradient 0; see `var_all`.
    """
    return safe_sqrt(var_all(x, mask, correction))


def weighted_mean(loss: Tensor, weight: Tensor, denominator: Tensor | float | None = None) -> Tensor:
    """Sum of weight x loss divided by the GLOBAL weight sum -> scalar [].

    loss, weight: same shape [U]. `denominator` is the weight sum over all micro-batches and ranks of the update; given
    it, the parts add up to the loss of the whole however the batch was split. None means that this call sees the whole
    batch. Entries of weight 0 never enter (their loss may be NaN). A denominator of 0 (nothing in the whole update
    counts) gives 0 with gradient 0.
    """
    weight = real(weight)
    counts = weight != 0
    summed = (masked(loss, counts) * masked(weight, counts)).sum()
    whole = (
        weight.sum() if denominator is None else torch.as_tensor(denominator, dtype=summed.dtype, device=summed.device)
    )
    nonzero = whole != 0
    return torch.where(nonzero, summed, 0.0) / torch.where(nonzero, whole, 1.0)
