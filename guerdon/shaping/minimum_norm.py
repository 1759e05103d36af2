"""The minimum-norm point of several gradients: a direction that lowers every loss (MARBLE, MGDA)."""

from dataclasses import dataclass

import torch
from torch import Tensor

from guerdon.reduce import masked, real
from guerdon.rewards.interface import State


def simplex_minimum(gram: Tensor) -> Tensor:
    """argmin over the simplex of αᵀ G α: a positive semi-definite G [K,K] -> α [K], float64.

    Wolfe's active-set method (1976), finite and exact up to rounding for the small K of rewards; where several α reach
    the same point, one of them. Raises nothing: K = 1 gives 1.
    """
    gram = gram.detach().double().cpu()
    k = len(gram)
    start = int(gram.diagonal().argmin())
    alpha = torch.zeros(k, dtype=torch.float64)
    alpha[start] = 1.0
    support = [start]
    tolerance = 1e-13 * max(float(gram.diagonal().max()), 1e-300)
    for _ in range(10 * k + 10):
        slope = gram @ alpha
        enter = int(slope.argmin())
        if enter in support or float(slope[enter]) >= float(alpha @ slope) - tolerance:
            break
        support.append(enter)
        while True:
            affine = _affine_minimum(gram[support][:, support])
            if bool((affine > 1e-14).all()):
                alpha = torch.zeros_like(alpha).index_put((torch.tensor(support),), affine)
                break
            # Walk towards the affine minimum until the first coefficient reaches 0, and let that gradient go.
            here = alpha[support]
            falling = affine <= 1e-14
            ratio = torch.where(falling, here / (here - affine).clamp(min=1e-300), float("inf"))
            here = here + ratio.min().clamp(max=1.0) * (affine - here)
            here[int(ratio.argmin())] = 0.0
            alpha = torch.zeros_like(alpha).index_put((torch.tensor(support),), here)
            support = [i for i in support if float(alpha[i]) > 0.0]
    alpha = alpha.clamp(min=0.0)
    return alpha / alpha.sum()


def _affine_minimum(gram: Tensor) -> Tensor:
    """argmin of αᵀ G α with Σα = 1 and no sign constraint: [S,S] -> [S]."""
    size = len(gram)
    system = torch.ones(size + 1, size + 1, dtype=torch.float64)
    system[:size, :size] = gram
    system[size, size] = 0.0
    right = torch.zeros(size + 1, 1, dtype=torch.float64)
    right[size] = 1.0
    return (torch.linalg.pinv(system, hermitian=True) @ right)[:size, 0]


def minimum_norm_weights(gradients: Tensor) -> Tensor:
    """α* = argmin over the simplex of ‖Σ α_k g_k/‖g_k‖‖²: gradients [K,D] -> α [K].

    Unit gradients, so a reward's scale plays no part; a zero gradient gets weight 0 (all zero: all 0).
    """
    wide = gradients.detach().double()
    norm = wide.norm(dim=-1)
    alive = norm > 0
    unit = wide / torch.where(alive, norm, 1.0).unsqueeze(-1)
    alpha = torch.zeros(len(gradients), dtype=torch.float64, device=gradients.device)
    if bool(alive.any()):
        alpha[alive] = simplex_minimum(unit[alive] @ unit[alive].mT).to(alpha.device)
    return alpha.to(real(gradients).dtype)


@dataclass(frozen=True)
class MinimumNorm:
    """Σ α*_k ĝ_k times the mean gradient norm; see ``minimum_norm``."""

    name: str = "minimum_norm"

    def init(self) -> State:
        """{}: no state (smoothing α over steps is a companion's work; give it to weighted_sum)."""
        return {}

    def __call__(self, names: tuple[str, ...], values: Tensor, ok: Tensor, state: State) -> tuple[Tensor, Tensor]:
        """Gradients [K,D] -> ([D], ok [D])."""
        kept = masked(values, ok)
        norm = kept.norm(dim=-1)
        alive = norm > 0
        unit = kept / torch.where(alive, norm, 1.0).unsqueeze(-1)
        direction = (minimum_norm_weights(kept).unsqueeze(-1) * unit).sum(0)
        return direction * (norm.sum() / alive.sum().clamp(min=1)), ok.any(0)


def minimum_norm() -> MinimumNorm:
    """The minimum-norm convex combination of unit gradients, scaled by their mean norm (MARBLE; Zhao et al. 2026,
    sec. 3).

    To first order every reward's loss decreases along it: ⟨d, ĝ_k⟩ ≥ ‖d‖² for all k, d before scaling. A channel whose
    gradient is zero is skipped, also in the mean norm; entries that are not ok count as 0. Keep the KL outside.
    """
    return MinimumNorm()
