"""Losses that hold each side to something of its own, not only their difference: NCA, APO, DPOP, Cal-DPO.

They see the *level* of the log-ratios, so the winner's likelihood cannot fall as long as the loser's falls faster.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, relu

from guerdon.batch import Pairs
from guerdon.objectives.pairwise import Contrast, logistic, pairwise
from guerdon.objectives.scores import log_ratio, scaled
from guerdon.objectives.terms import Objective


def of_sides(loss: Callable[[Tensor, Tensor], Tensor]) -> Contrast:
    """p·f(z_w, z_l) + (1 − p)·f(z_l, z_w) with p = pairs.preferred: a loss of both sides' levels as a contrast.
    ``pairs.margin`` has no meaning here and is not read."""

    def contrast(z_w: Tensor, z_l: Tensor, pairs: Pairs) -> Tensor:
        p = pairs.probability().to(z_w)
        return p * loss(z_w, z_l) + (1 - p) * loss(z_l, z_w)

    return contrast


def nca(beta: float = 0.01) -> Objective:
    """−log σ(βρ_w) − ½ log σ(−βρ_w) − ½ log σ(−βρ_l): noise-contrastive alignment of a pair (Chen et al. 2024,
    2402.05369). The winner's push ends at σ(βρ_w) = ⅔."""

    def loss(w: Tensor, l: Tensor) -> Tensor:
        return -logsigmoid(w) - 0.5 * logsigmoid(-w) - 0.5 * logsigmoid(-l)

    return pairwise(scaled(beta, log_ratio()), of_sides(loss), name="nca")


def apo_zero(beta: float = 0.1) -> Objective:
    """1 − σ(βρ_w) + σ(βρ_l): the winner up, the loser down; for winners better than the model (D'Oosterlinck et al.
    2024, 2408.06266, eq. 7)."""
    # 1 − σ(z) is σ(−z), which keeps its digits where σ(z) is nearly 1.
    contrast = of_sides(lambda w, l: torch.sigmoid(-w) + torch.sigmoid(l))
    return pairwise(scaled(beta, log_ratio()), contrast, name="apo_zero")


def apo_down(beta: float = 0.1) -> Objective:
    """σ(βρ_w) + 1 − σ(β(ρ_w − ρ_l)): both down, the loser more; for winners worse than the model (D'Oosterlinck et al.
    2024, 2408.06266, eq. 8). The winner falls exactly where |ρ_w| < |ρ_w − ρ_l|."""
    contrast = of_sides(lambda w, l: torch.sigmoid(w) + torch.sigmoid(l - w))
    return pairwise(scaled(beta, log_ratio()), contrast, name="apo_down")


def dpop(beta: float = 0.3, weight: float = 50.0) -> Objective:
    """−log σ(β(ρ_w − ρ_l − λ max(0, −ρ_w))): DPO that pays where the winner is less likely than under the reference
    (Pal et al. 2024, 2402.13228, eq. 3).

    λ = ``weight``; 0 is DPO. The penalty stands inside the sigmoid and is on the winner alone, however sure the label.
    """

    def side(z: Tensor, sign: int) -> Tensor:
        return z - weight * relu(-z) if sign > 0 else z

    return pairwise(scaled(beta, log_ratio()), logistic(), side, name="dpop")


def cal_dpo(beta: float = 0.1) -> Objective:
    """−log σ(ρ_w − ρ_l) + (ρ_w − 1/(2β))² + (ρ_l + 1/(2β))²: implicit rewards βρ calibrated to ±½ (Xiao et al. 2024,
    2412.14516).

    The logistic part has no β, as in the authors' code (Cal-DPO/Cal-DPO, trainers.py, shift 0.5): β sets the targets
    alone. Their settings are β = 0.1 (Pythia) and 0.001 (Mistral), targets of 5 and 500 nats.
    """
    target = 1 / (2 * beta)
    calibration = of_sides(lambda w, l: (w - target).square() + (l + target).square())
    return pairwise(log_ratio(), logistic(), name="cal_dpo") + pairwise(log_ratio(), calibration, name="calibration")
