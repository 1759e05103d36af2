"""Process rewards bounded so that more steps never pay (Gao et al. 2024)."""

from torch import Tensor

from guerdon.reduce import masked
from guerdon.shaping.ends import last_step, next_in_row


def clipped_process(score: Tensor, scored: Tensor, threshold: float) -> Tensor:
    """min(R − threshold, 0) where scored: [N,T] -> [N,T] ≤ 0, so that a good step earns nothing and a bad one costs."""
    return masked((masked(score, scored) - threshold).clamp(max=0.0), scored)


def delta_process(score: Tensor, scored: Tensor) -> Tensor:
    """Differences whose sum to go is the step's own score: [N,T] -> [N,T].

    score R_k stands where ``scored`` (bool [N,T], the end of each step k = 1..K of a row). d_k = R_k − R_{k+1} for
    k < K − 1, d_{K−1} = R_{K−1}, d_K = 0: the last step is judged by the outcome alone. Undiscounted,
    Σ_{i≥k} d_i = R_k for k < K, so that steps added later change nothing; a discount breaks this. One step: 0.
    It is previous minus next, a return-shaping device, not a progress reward and not a potential.
    """
    last = last_step(scored)
    value = masked(score, scored & ~last)
    return masked(value - next_in_row(value, scored), scored & ~last)


def clip_delta(score: Tensor, scored: Tensor, threshold: float) -> Tensor:
    """Clip, then delta, the combination the paper recommends; the return from any step is at most the outcome's."""
    return delta_process(clipped_process(score, scored, threshold), scored)
