"""Comparisons that may end in a tie, as an outcome of its own rather than half a win.

``outcome`` [P,3]: probabilities of (first preferred, tie, second preferred), a row sums to 1; hard labels are 0, 1.
"""

import math

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from guerdon.errors import GuerdonError
from guerdon.reduce import real

FIRST, TIE, SECOND = 0, 1, 2


def outcomes(preferred: Tensor, tied: Tensor) -> Tensor:
    """P(first ≻ second | no tie) [P] and which pairs are tied, bool [P] -> outcome [P,3]."""
    preferred = real(preferred)
    zero = torch.zeros_like(preferred)
    first = torch.where(tied, zero, preferred)
    return torch.stack([first, tied.to(preferred.dtype), torch.where(tied, zero, 1 - preferred)], -1)


def rao_kupper_log_probs(z_1: Tensor, z_2: Tensor, threshold: Tensor | float) -> Tensor:
    """Log-probabilities [P,3] of first, tie, second (Rao & Kupper 1967): a difference below the threshold may tie.

    P(first) = σ(Δ − τ), P(second) = σ(−Δ − τ), P(tie) = (e^{2τ} − 1) σ(Δ − τ) σ(−Δ − τ), Δ = z_1 − z_2, τ > 0.
    Raises GuerdonError unless every τ is positive (at τ = 0 ties are impossible: use ``bradley_terry``).
    """
    z_1, z_2 = real(z_1), real(z_2)
    tau = torch.as_tensor(threshold, dtype=z_1.dtype, device=z_1.device)
    if not bool((tau > 0).all()):
        raise GuerdonError(f"rao_kupper needs a threshold above 0, but {float(tau.min()):g} came.")
    gap = z_1 - z_2
    first, second = logsigmoid(gap - tau), logsigmoid(-gap - tau)
    # log(e^{2τ} − 1) without overflow for large τ or cancellation for small τ
    odds = 2 * tau + torch.log(-torch.expm1(-2 * tau))
    return torch.stack([first, odds + first + second, second], -1)


def davidson_log_probs(z_1: Tensor, z_2: Tensor, tie_strength: float) -> Tensor:
    """Log-probabilities [P,3] of first, tie, second (Davidson 1970): ties have their own strength ν > 0.

    Proportional to (e^{Δ/2}, ν, e^{−Δ/2}): at Δ = 0 a tie has probability ν / (ν + 2). Raises GuerdonError for ν ≤ 0.
    """
    if not tie_strength > 0:
        raise GuerdonError(f"davidson needs a tie strength above 0, but {tie_strength:g} came.")
    half = (real(z_1) - real(z_2)) / 2
    return torch.stack([half, torch.full_like(half, math.log(tie_strength)), -half], -1).log_softmax(-1)


def _nll(log_probs: Tensor, outcome: Tensor, weight: Tensor | float) -> Tensor:
    if outcome.shape != log_probs.shape:
        raise GuerdonError(
            f"Outcomes must be {list(log_probs.shape)} (first, tie, second), but {list(outcome.shape)} came."
        )
    return -weight * (outcome * log_probs).sum(-1)


def rao_kupper(
    z_1: Tensor, z_2: Tensor, outcome: Tensor, threshold: Tensor | float, weight: Tensor | float = 1.0
) -> Tensor:
    """Negative log-likelihood [P] under Rao–Kupper; the threshold may be learned (a tensor with gradient)."""
    return _nll(rao_kupper_log_probs(z_1, z_2, threshold), outcome, weight)


def davidson(z_1: Tensor, z_2: Tensor, outcome: Tensor, tie_strength: float, weight: Tensor | float = 1.0) -> Tensor:
    """Negative log-likelihood [P] under Davidson."""
    return _nll(davidson_log_probs(z_1, z_2, tie_strength), outcome, weight)
