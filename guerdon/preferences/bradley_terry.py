"""Bradley–Terry: P(w ≻ l) = σ(scale·(z_w − z_l − margin))."""

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid


def bradley_terry(
    z_w: Tensor,
    z_l: Tensor,
    *,
    preferred: Tensor | float = 1.0,
    margin: Tensor | float = 0.0,
    weight: Tensor | float = 1.0,
    scale: float = 1.0,
    smoothing: float = 0.0,
) -> Tensor:
    """Negative log-likelihood [P] of comparisons between z_w [P] and z_l [P], in nats.

    preferred: P(w ≻ l), 1 when hard, ½ a tie. margin: subtracted from the difference, in the scores' units. weight:
    multiplies the
    loss (Scaled BT). scale: inverse temperature of the difference. smoothing ε mixes in the flipped label (cDPO).
    Computed
    through log σ of the signed difference, so that confident mistakes neither overflow nor lose their gradient.
    """
    gap = scale * (z_w - z_l - margin)
    p = torch.as_tensor(preferred, dtype=gap.dtype, device=gap.device)
    p = p * (1 - smoothing) + (1 - p) * smoothing
    return -weight * (p * logsigmoid(gap) + (1 - p) * logsigmoid(-gap))
