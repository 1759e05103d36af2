"""A reward seen against the rewards of anchors: kept responses to the same prompt, scored by the same reward.

Pure functions (r [N], refs [N,M], mask bool [N,M]) -> [N]; a row's anchors are where the mask is True (ragged, NaN
elsewhere). A row without anchors reads 0 here: whoever calls decides what it means. All but the negative control are
the catalogue of PAR (Fu et al. 2025); adding one constant to r and all refs changes nothing in any of them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from guerdon.errors import GuerdonError
from guerdon.reduce import average, lengths, masked, masked_max, safe_sqrt, total


def _gaps(r: Tensor, refs: Tensor, mask: Tensor) -> Tensor:
    if refs.ndim != 2 or refs.shape != mask.shape or len(refs) != len(r):
        raise GuerdonError(
            f"Anchors need rewards [N], references [N,M] and a mask [N,M], but {list(r.shape)}, {list(refs.shape)} and "
            f"{list(mask.shape)} came."
        )
    return masked(r.unsqueeze(-1) - masked(refs, mask), mask)


def mean_sigmoid(r: Tensor, refs: Tensor, mask: Tensor, k: float = 1.0) -> Tensor:
    """Mean over anchors of σ(k (r − ref)) in (0, 1): PAR. With k = 1 and one anchor, Bradley–Terry's P(y ≻ y_1)."""
    return average(torch.sigmoid(k * _gaps(r, refs, mask)), mask)


def mean_tanh(r: Tensor, refs: Tensor, mask: Tensor, k: float = 1.0) -> Tensor:
    """Mean over anchors of tanh(k (r − ref)) in (−1, 1)."""
    return average(torch.tanh(k * _gaps(r, refs, mask)), mask)


def slow_growth(r: Tensor, refs: Tensor, mask: Tensor, shift: float = 3.0) -> Tensor:
    """Mean over anchors of σ(r − shift − ref): slow growth, fast convergence; PAR's negative control."""
    return average(torch.sigmoid(_gaps(r, refs, mask) - shift), mask)


@lru_cache
def _sigmoid_polynomial(degree: int, reach: float) -> tuple[float, ...]:
    # Least squares on an even grid; the grid's density moves the coefficients by less than 1e-6.
    x = torch.linspace(-reach, reach, 2001, dtype=torch.float64)
    powers = torch.stack([(x / reach) ** i for i in range(degree + 1)], -1)
    return tuple(torch.linalg.lstsq(powers, torch.sigmoid(x).unsqueeze(-1)).solution.squeeze(-1).tolist())


def mean_polynomial(r: Tensor, refs: Tensor, mask: Tensor, degree: int = 5, reach: float = 5.0) -> Tensor:
    """Mean over anchors of the least-squares polynomial of σ on [−reach, reach], 0 below and 1 above."""
    gap = _gaps(r, refs, mask)
    x = gap.clamp(-reach, reach) / reach
    fitted = torch.zeros_like(x)
    for coefficient in reversed(_sigmoid_polynomial(degree, reach)):
        fitted = fitted * x + coefficient
    fitted = torch.where(gap < -reach, 0.0, torch.where(gap > reach, 1.0, fitted))
    return average(fitted, mask)


def anchor_level(refs: Tensor, mask: Tensor, quantile: float) -> Tensor:
    """mean + Φ⁻¹(quantile) · std of each row's anchors (unbiased std; 0 with one anchor): [N,M] -> [N]."""
    deviation = masked(refs, mask) - average(refs, mask).unsqueeze(-1)
    std = safe_sqrt(total(deviation.square(), mask) / (lengths(mask) - 1).clamp(min=1))
    return average(refs, mask) + NormalDist().inv_cdf(quantile) * std


def log_sigmoid_above(r: Tensor, refs: Tensor, mask: Tensor, quantile: float = 0.85) -> Tensor:
    """log σ(r − q), q the anchors' normal quantile (LSC; Wang et al. 2024); a sum over rewards is a logical AND."""
    _gaps(r, refs, mask)
    return masked(F.logsigmoid(r - anchor_level(refs, mask, quantile)), mask.any(-1))


def above(r: Tensor, refs: Tensor, mask: Tensor, aggregate: Literal["mean", "max", "quantile"] = "mean",
          quantile: float = 0.85) -> Tensor:  # fmt: skip
    """r − g(anchors): contrastive rewards (Shen et al. 2024), g the mean, the max or the normal quantile."""
    _gaps(r, refs, mask)
    if aggregate == "mean":
        level = average(refs, mask)
    elif aggregate == "max":
        level = masked_max(refs, mask)
    elif aggregate == "quantile":
        level = anchor_level(refs, mask, quantile)
    else:
        raise GuerdonError(f"A contrast takes 'mean', 'max' or 'quantile' of the anchors, but {aggregate!r} came.")
    return masked(r - level, mask.any(-1))


@dataclass(frozen=True)
class AnchorMap:
    """A function of (r, refs, mask) with its options fixed, so that a graph can name and store it."""

    name: str
    function: Callable[..., Tensor]
    options: tuple[tuple[str, float | int | str], ...] = ()

    def __call__(self, r: Tensor, refs: Tensor, mask: Tensor) -> Tensor:
        """Rewards [N], anchor rewards [N,M] and which of them count [N,M] -> [N]."""
        return self.function(r, refs, mask, **dict(self.options))


def par(k: float = 1.0) -> AnchorMap:
    """Mean over anchors of σ(k (r − ref)) (Fu et al. 2025). The sigmoids are averaged, not the differences."""
    return AnchorMap("par", mean_sigmoid, (("k", k),))


def lsc(quantile: float = 0.85) -> AnchorMap:
    """log σ(r − the anchors' normal quantile) (Wang et al. 2024)."""
    if not 0 < quantile < 1:
        raise GuerdonError(f"lsc needs a quantile between 0 and 1, but {quantile} came.")
    return AnchorMap("lsc", log_sigmoid_above, (("quantile", quantile),))


def contrast(aggregate: Literal["mean", "max", "quantile"] = "mean") -> AnchorMap:
    """r − mean (max, quantile) of the anchors (Shen et al. 2024). RLOO and GRPO cancel it exactly."""
    return AnchorMap("contrast", above, (("aggregate", aggregate),))


def anchored_tanh(k: float = 1.0) -> AnchorMap:
    """Mean over anchors of tanh(k (r − ref))."""
    return AnchorMap("anchored_tanh", mean_tanh, (("k", k),))


def sgfc(shift: float = 3.0) -> AnchorMap:
    """Mean over anchors of σ(r − shift − ref), PAR's negative control."""
    return AnchorMap("sgfc", slow_growth, (("shift", shift),))


def polynomial(degree: int = 5, reach: float = 5.0) -> AnchorMap:
    """Mean over anchors of a polynomial fitted to σ."""
    return AnchorMap("polynomial", mean_polynomial, (("degree", degree), ("reach", reach)))
