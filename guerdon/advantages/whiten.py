"""Whitening: mean 0 and standard deviation 1 over everything that counts."""

import torch
from torch import Tensor

from guerdon.reduce import masked, mean_all, std_all


def whiten(x: Tensor, mask: Tensor, *, centre: bool = True, correction: int = 1, eps: float = 1e-8) -> Tensor:
    """(x − mean) / (std + ε) over the True entries of the mask, of any shape; 0 elsewhere.

    Give it the whole update (all micro-batches, both halves of a sequence): whitening parts is another thing. Zero
    variance, or no more than ``correction`` entries, divides nothing: constant data become exactly 0 (unchanged where
    centre is False). [N,T] weighs rows by their length, [N] does not.
    """
    x = x.detach()
    std = std_all(x, mask, correction)
    # Shifting first makes constant data exactly 0 after centring.
    anchor = masked(x, mask)[mask][:1].sum() if centre else torch.zeros((), dtype=x.dtype, device=x.device)
    shifted = masked(x, mask) - anchor
    gap = shifted - mean_all(shifted, mask) if centre else shifted
    return masked(gap / torch.where(std > 0, std + eps, 1.0), mask)
