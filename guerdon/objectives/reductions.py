"""What one unit of a per-step loss is: a step, or a row. The choice is named, because results change with it."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from guerdon import reduce


@dataclass(frozen=True)
class Reduction:
    """name; units: (loss [N,T], mask [N,T]) -> [U]; weight: mask -> [U]."""

    name: str
    units: Callable[[Tensor, Tensor], Tensor]
    weight: Callable[[Tensor], Tensor]


def token_mean() -> Reduction:
    """Every live step of the whole batch weighs the same (DAPO; long rows weigh more)."""
    return Reduction(
        "token_mean", lambda x, mask: reduce.masked(x, mask).reshape(-1), lambda mask: mask.reshape(-1).float()
    )


def sequence_mean() -> Reduction:
    """Every row with a live step weighs the same, its steps averaged (GRPO as published)."""
    return Reduction("sequence_mean", reduce.average, lambda mask: mask.any(-1).float())


def sequence_sum(scale: float = 1.0) -> Reduction:
    """Every row with a live step weighs the same, its steps summed and divided by a constant ``scale`` (Dr. GRPO: the
    length limit; REINFORCE on whole responses: 1)."""
    return Reduction("sequence_sum", lambda x, mask: reduce.total(x, mask) / scale, lambda mask: mask.any(-1).float())
