"""How far two rankings of the same items agree: ordinal ranks, so that ties are broken by place and nothing is NaN."""

import torch
from torch import Tensor

from guerdon.reduce.masked import masked, real


def ordinal_rank(x: Tensor, mask: Tensor) -> Tensor:
    """int64 [G,K]: 1 for the smallest of a list's items, n for the largest; of equal ones the earlier place is lower.

    mask: bool [G,K], which items count; others get 0. No gradient.
    """
    order = masked(x.detach(), mask, torch.inf).argsort(dim=-1, stable=True)
    # An item that counts may be infinite too: those that do not are moved behind it.
    order = order.gather(-1, (~mask).gather(-1, order).long().argsort(dim=-1, stable=True))
    place = torch.arange(1, x.shape[-1] + 1, device=x.device).expand(x.shape)
    return torch.where(mask, torch.zeros_like(place).scatter(-1, order, place), 0)


def kendall_tau(first: Tensor, second: Tensor, mask: Tensor) -> Tensor:
    """Kendall's τ of the ordinal ranks [G], in [−1, 1]: pairs of items in one order minus pairs in opposite order, over
    all pairs. A list of fewer than two items agrees (1)."""
    a, b = (ordinal_rank(x, mask) for x in (first, second))
    both = mask[:, :, None] & mask[:, None, :]
    order_a, order_b = ((x[:, :, None] - x[:, None, :]).sign() for x in (a, b))
    agreed = torch.where(both, order_a * order_b, 0).sum((-1, -2))
    n = mask.sum(-1)
    return torch.where(n > 1, agreed.to(real(first)) / (n * (n - 1)).clamp(min=1), 1.0)


def spearman(first: Tensor, second: Tensor, mask: Tensor) -> Tensor:
    """Spearman's correlation of the ordinal ranks [G], in [−1, 1]: 1 − 6Σd²/(n(n² − 1)). A list of fewer than two
    items agrees (1)."""
    gap = ordinal_rank(first, mask) - ordinal_rank(second, mask)
    n = mask.sum(-1)
    return torch.where(n > 1, 1 - 6 * gap.square().sum(-1).to(real(first)) / (n * (n * n - 1)).clamp(min=1), 1.0)


def same_ends(first: Tensor, second: Tensor, mask: Tensor) -> Tensor:
    """1 where both rankings have the same best and worst item, else −1 [G]. A list of fewer than two items agrees."""
    a, b = (ordinal_rank(x, mask) for x in (first, second))
    n = mask.sum(-1, keepdim=True)
    differ = (((a == n) != (b == n)) | ((a == 1) != (b == 1))) & mask
    return torch.where(differ.any(-1), -1.0, 1.0).to(real(first))
