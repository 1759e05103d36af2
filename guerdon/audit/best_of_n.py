"""Best-of-n from one set of scored samples: the expectation over all subsets, without drawing any."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from guerdon.errors import GuerdonError


def best_of_n_weights(samples: int, n: int) -> Tensor:
    """[M] float64: probability C(i−1, n−1)/C(M, n) that the i-th smallest of M samples is the largest of a random n of
    them.

    They sum to 1; n = 1 gives 1/M each, n = M all weight to the largest (Coste et al. 2023, 2310.02743, app. on
    best-of-n). Through log-gamma, because the binomials overflow. Raises GuerdonError unless 1 ≤ n ≤ M.
    """
    if not 1 <= n <= samples:
        raise GuerdonError(f"Best-of-n needs 1 ≤ n ≤ the number of samples ({samples}), but n = {n} came.")
    below = torch.arange(samples, dtype=torch.float64)  # i − 1 samples are smaller
    chosen = torch.lgamma(below + 1) - math.lgamma(n) - torch.lgamma((below - n + 1).clamp(min=0) + 1)
    whole = math.lgamma(samples + 1) - math.lgamma(n + 1) - math.lgamma(samples - n + 1)
    return torch.where(below >= n - 1, (chosen - whole).exp(), 0.0)


def best_of_n(score: Tensor, value: Tensor, ns: Sequence[int]) -> dict[int, Tensor]:
    """n -> expected value [...] of the best of n by ``score``, over all subsets of the M samples of each prompt.

    score, value: [...,M]. Samples with equal scores are equally likely to be taken: each stands for the mean value of
    its ties. Unbiased for the expectation under the sampling policy. Raises GuerdonError where shapes differ or n lies
    outside [1, M].
    """
    if score.shape != value.shape:
        raise GuerdonError(
            f"best_of_n needs a value for every score, but {list(score.shape)} and {list(value.shape)} came."
        )
    order = score.argsort(-1)
    ranked, gold = score.gather(-1, order), value.double().gather(-1, order)
    new = torch.ones_like(ranked, dtype=torch.int64)
    new[..., 1:] = (ranked[..., 1:] != ranked[..., :-1]).long()
    level = new.cumsum(-1) - 1
    zeros = torch.zeros_like(gold)
    sums, counts = zeros.scatter_add(-1, level, gold), zeros.scatter_add(-1, level, torch.ones_like(gold))
    shared = (sums / counts.clamp(min=1)).gather(-1, level)
    return {n: (shared * best_of_n_weights(gold.shape[-1], n).to(gold.device)).sum(-1) for n in ns}


def best_of_n_kl(n: int) -> float:
    """Upper bound log n − (n − 1)/n, in nats, of KL(best-of-n ‖ policy); tight where ties are rare."""
    return math.log(n) - (n - 1) / n
