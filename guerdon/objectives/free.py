"""Pairs without a reference: total log-probabilities (CPO), and mean ones read through a shape of reward (AlphaPO)."""

import torch
from torch import Tensor

from guerdon import reduce
from guerdon.batch import Batch, Pairs
from guerdon.errors import GuerdonError
from guerdon.objectives.expectation import sft
from guerdon.objectives.pairwise import logistic, pairwise
from guerdon.objectives.scores import Score, mean_logprob, scaled
from guerdon.objectives.terms import Objective

EXPONENT = 80.0
"""e^80 is the largest power that float32 holds with room for a coefficient and a difference."""


def total_logprob(of: str = "policy") -> Score:
    """log π(y), summed over the row's live steps, in nats; needs no reference."""

    def call(batch: Batch, pairs: Pairs, sign: int) -> Tensor:
        steps = batch.read("steps")
        return reduce.total(steps.logprob(of), steps.mask)[pairs.rows(sign)]

    return Score("total_logprob", call, (f"steps.logp.{of}",))


def cpo(beta: float = 0.1, weight: float = 1.0, smoothing: float = 0.0) -> Objective:
    """−log σ(β(log π(y_w) − log π(y_l))) + weight · NLL(y_w) (Xu et al. 2024, 2401.08417): DPO with a uniform
    reference, held by supervised learning.

    The NLL is the mean over the winners' steps, as in the authors' code (the paper writes the sum of a response).
    """
    return pairwise(scaled(beta, total_logprob()), logistic(smoothing=smoothing), name="cpo") + weight * sft("winner")


def alphapo(beta: float = 2.5, alpha: float = 0.25, gamma: float = 0.25, smoothing: float = 0.0) -> Objective:
    """−log σ(β r_w − β r_l − γ) with r = (1 − p̄^−α)/α, p̄ = e^{mean token log-prob} (Gupta et al. 2025, 2501.03884).

    α → 0 gives r = log p̄, which is SimPO. Above 0 unlikely responses are punished more than in proportion, below 0
    less. γ is in the units of βr. α = 0.25 is the paper's; β and γ are tuned as SimPO's are. −α·log p̄ is held at
    ``EXPONENT``, past which there is no gradient. Raises GuerdonError where α is not a finite number.
    """
    if not abs(alpha) < float("inf"):
        raise GuerdonError(f"alphapo(alpha=…) must be a finite number, but {alpha} came.")

    def side(z: Tensor, sign: int) -> Tensor:
        return beta * (z if alpha == 0 else -torch.expm1((-alpha * z).clamp(max=EXPONENT)) / alpha)

    return pairwise(mean_logprob(), logistic(margin=gamma, smoothing=smoothing), side, name="alphapo")
