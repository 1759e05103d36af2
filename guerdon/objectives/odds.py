"""Odds of a response, p/(1 − p) with p its mean-token likelihood: ORPO compares them, ASFT takes each by itself."""

import math

import torch
from torch import Tensor
from torch.nn.functional import softplus

from guerdon.batch import Pairs
from guerdon.objectives.expectation import expectation, sft
from guerdon.objectives.pairwise import Contrast, logistic, pairwise
from guerdon.objectives.scores import mean_logprob
from guerdon.objectives.terms import Objective
from guerdon.reduce import real

CEILING = -1e-6
"""Log-likelihoods above it count as it (without gradient): at p = 1 the odds are infinite."""


def log_odds(z: Tensor, sign: int) -> Tensor:
    """log p − log(1 − p) of log p, elementwise; either form of log(1 − e^z) keeps its digits on its own side of −log 2
    (Mächler 2012). A ``Side``: both signs alike."""
    z = real(z).clamp(max=CEILING)
    return z - torch.where(z < -math.log(2), torch.log1p(-z.exp()), torch.log(-torch.expm1(z)))


def absolute(beta: float) -> Contrast:
    """−log σ(β z_w) − log σ(−β z_l): each side against 0, not against the other."""

    def contrast(z_w: Tensor, z_l: Tensor, pairs: Pairs) -> Tensor:
        return softplus(-beta * z_w) + softplus(beta * z_l)

    return contrast


def orpo(beta: float = 0.1) -> Objective:
    """NLL(y_w) − β·log σ(f(y_w) − f(y_l)), f the log odds of the mean-token likelihood (Hong et al. 2024, 2403.07691,
    eq. 6 and 7; β is their λ).

    No reference and no stage of supervised learning before. The NLL is the mean over the winners' *response* steps;
    the authors' code takes in the prompt too.
    """
    return sft("winner") + beta * pairwise(mean_logprob(), logistic(), log_odds, name="orpo")


def asft(weight: float = 1.0, beta: float = 1.0) -> Objective:
    """−log p(y_w) + weight·[−log σ(β f(y_w)) − log σ(−β f(y_l))], f the log odds of the mean-token likelihood p (Wang
    et al. 2024, 2409.10571).

    At β = 1 the bracket is −log p(y_w) − log(1 − p(y_l)) exactly, so the push on y_w never fades and that on y_l fades
    with p(y_l): nothing is driven to −∞. p must be a *mean*-token likelihood; that of a whole response is nearly 0, and
    the rejected side would vanish. ``weight`` is the paper's λ; 1 is what re-implementations take.
    """
    likelihood = expectation(-1.0, "winner", "average", name="likelihood")
    return likelihood + weight * pairwise(mean_logprob(), absolute(beta), log_odds, name="asft")
