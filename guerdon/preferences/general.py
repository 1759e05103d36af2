"""General preferences: P(1 ≻ 2) = σ(s / τ) with a skew-symmetric score of two embeddings, which can hold cycles.

Bradley–Terry is the special case v = (r, 1): s = r_1 − r_2 (Zhang et al. 2024, 2410.02197).
"""

import torch
from torch import Tensor

from guerdon.errors import GuerdonError
from guerdon.preferences.bradley_terry import bradley_terry
from guerdon.reduce import masked, real


def skew_score(v_1: Tensor, v_2: Tensor, gate: Tensor | None = None) -> Tensor:
    """s(1 ≻ 2) = Σ_l λ_l (a_1 b_2 − b_1 a_2)_l [...], where (a, b)_l are entries 2l and 2l + 1 of an embedding.

    v_1, v_2: [...,2k]; leading dimensions broadcast, so ``skew_score(v[:, None], v[None])`` is the table of all pairs
    of K responses from K embeddings. gate: λ [...,k] of the prompt, 1 where None. s(1 ≻ 2) = −s(2 ≻ 1) and s(1 ≻ 1) = 0
    exactly; turning both embeddings by one angle in a block changes nothing. Raises GuerdonError on an odd or unequal
    last dimension.
    """
    if v_1.shape[-1] != v_2.shape[-1] or v_1.shape[-1] % 2 or not v_1.shape[-1]:
        raise GuerdonError(
            f"Embeddings of one even dimension 2k were expected, but {v_1.shape[-1]} and {v_2.shape[-1]} came."
        )
    (a_1, b_1), (a_2, b_2) = ((real(v)[..., 0::2], real(v)[..., 1::2]) for v in (v_1, v_2))
    blocks = a_1 * b_2 - b_1 * a_2
    return (blocks if gate is None else real(gate) * blocks).sum(-1)


def mean_skew_score(v: Tensor, mask: Tensor, gate: Tensor | None = None) -> Tensor:
    """ŝ_i = (1/K) Σ_j s(i ≻ j) [G,K] of every member of a list against the members of its list, itself (0) included.

    v: [G,K,2k]. mask: bool [G,K], who is in the list; others get 0. gate: [G,k]. Linear in the opponents, so it is the
    score against their mean embedding and costs no table of pairs. Σ_i ŝ_i = 0.
    """
    inside = mask.unsqueeze(-1).expand(v.shape)
    mean = masked(v, inside).sum(-2, keepdim=True) / mask.sum(-1).clamp(min=1)[:, None, None]
    return masked(skew_score(masked(v, inside), mean, None if gate is None else gate.unsqueeze(-2)), mask)


def general_preference(
    v_w: Tensor,
    v_l: Tensor,
    *,
    gate: Tensor | None = None,
    preferred: Tensor | float = 1.0,
    weight: Tensor | float = 1.0,
    smoothing: float = 0.0,
    temperature: float = 0.1,
) -> Tensor:
    """Negative log-likelihood [P] of comparisons between embeddings v_w, v_l [P,2k]: −log σ(s(w ≻ l)/τ), soft where
    ``preferred`` = P(w ≻ l) is (Zhang et al. 2024; their released τ is 0.1).

    gate: λ [P,k]. weight: multiplies the loss; the caller divides by what it sums to. smoothing: probability of a
    flipped label, in [0, ½]. Embeddings are known up to v_w → c·v_w, v_l → v_l/c: normalise or decay them.
    """
    score = skew_score(v_w, v_l, gate)
    return bradley_terry(
        score,
        torch.zeros_like(score),
        preferred=preferred,
        weight=weight,
        smoothing=smoothing,
        temperature=temperature,
    )
