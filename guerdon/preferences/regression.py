"""Ratings as regression targets: of one response, or of the difference of two."""

import torch
from torch import Tensor

from guerdon.reduce import masked, real


def regression(score: Tensor, target: Tensor, valid: Tensor | None = None, weight: Tensor | float = 1.0) -> Tensor:
    """(score − target)², in their shape ([N], or [N,A] for several attributes).

    valid: bool alike, False where a rating is absent (anything may stand there; 0 comes out, with gradient 0). The
    caller divides by the number of valid entries of the whole batch (SteerLM's masked error, Wang et al. 2024).
    """
    if valid is None:
        valid = torch.ones(score.shape, dtype=torch.bool, device=score.device)
    gap = masked(score, valid) - masked(target.expand(score.shape), valid)
    return gap.square() * weight


def margin_regression(z_w: Tensor, z_l: Tensor, margin: Tensor | float, weight: Tensor | float = 1.0) -> Tensor:
    """((z_w − z_l) − margin)² [P]: the difference itself is rated."""
    return (real(z_w) - real(z_l) - margin).square() * weight
