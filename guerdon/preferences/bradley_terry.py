"""Bradley–Terry: P(w ≻ l) = σ((z_w − z_l − margin) / temperature)."""

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from guerdon.errors import GuerdonError
from guerdon.reduce import real


def bradley_terry(
    z_w: Tensor,
    z_l: Tensor,
    *,
    preferred: Tensor | float = 1.0,
    margin: Tensor | float = 0.0,
    weight: Tensor | float = 1.0,
    scale: Tensor | float = 1.0,
    smoothing: float = 0.0,
    temperature: float = 1.0,
) -> Tensor:
    """Negative log-likelihood [P] of comparisons between z_w [P] and z_l [P], in nats.

    preferred: P(w ≻ l), 1 when hard, ½ a tie (no push at Δ = margin), 0 the reverse. margin: by how much w should win,
    subtracted from the difference, in the scores' units (Touvron et al. 2023, eq. 2). scale: multiplies the loss by the
    strength of the preference (Scaled BT, Wang et al. 2024); it sharpens nothing: that is ``temperature``. weight:
    multiplies the loss too, for importance or averaging; the caller divides by what it sums to. smoothing: probability
    that a label is flipped (cDPO), in [0, ½].

    Both directions go through log σ, so at |Δ| = 1e4 value and gradient are exact, and swapping the sides with
    1 − preferred and −margin gives the same value and opposite gradients.
    """
    if not 0.0 <= smoothing <= 0.5:
        raise GuerdonError(f"Label smoothing is the probability of a flipped label, in [0, 0.5], but {smoothing} came.")
    gap = (real(z_w) - real(z_l) - margin) / temperature
    p = torch.as_tensor(preferred, dtype=gap.dtype, device=gap.device)
    p = p * (1 - smoothing) + (1 - p) * smoothing
    return -weight * scale * (p * logsigmoid(gap) + (1 - p) * logsigmoid(-gap))


def preference_probability(
    z_w: Tensor, z_l: Tensor, *, margin: Tensor | float = 0.0, temperature: float = 1.0
) -> Tensor:
    """P(w ≻ l) = σ((z_w − z_l − margin) / temperature), [P] in [0, 1]; ½ where the scores tie."""
    return torch.sigmoid((real(z_w) - real(z_l) - margin) / temperature)


def centring_penalty(z_w: Tensor, z_l: Tensor) -> Tensor:
    """(z_w + z_l)² [P]: keeps scores around 0, which comparisons leave free (Eisenstein et al. 2023, with
    coefficient 0.01)."""
    return (real(z_w) + real(z_l)).square()


def magnitude_penalty(z_w: Tensor, z_l: Tensor) -> Tensor:
    """z_w² + z_l² [P]: centres *and* shrinks scores (the 'Reg' reward model of Fu et al. 2025; coefficient 0.005)."""
    return real(z_w).square() + real(z_l).square()
