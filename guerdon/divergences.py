"""Divergences between distributions: exact on categorical log-probabilities, sampled from log-ratios, on occupancy
measures and on Gaussians.

Belongs here: the mathematics of "how far is p from q", with the gradient of every form stated. How a divergence enters
a reward or a loss does not.

Orientation: p is the policy, q the reference. *Reverse* KL is KL(p || q), the one RLHF penalises; *forward* KL is KL(q
|| p). With u = p/q an f-divergence is D_f(p || q) = E_q[f(u)] (Csiszar 1967; f-DPO, Wang et al. 2023).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from guerdon.errors import GuerdonError

Divergence = Literal["reverse_kl", "forward_kl", "js", "alpha", "chi2", "total_variation"]
Estimator = Literal["k1", "k2", "k3"]
EstimatorGradient = Literal["none", "pathwise", "k2", "score"]

GENERATORS: tuple[Divergence, ...] = ("reverse_kl", "forward_kl", "js", "alpha", "chi2", "total_variation")


@dataclass(frozen=True)
class Generator:
    """The convex f of an f-divergence, written in log u so that nothing overflows before it must.

    perspective: (log p, log q) -> q f(p/q), elementwise, for finite log-probabilities.
    f_prime: log u -> f'(u), elementwise; the link of f-DPO. Where f' itself grows like 1/u it overflows for very
    negative log u: clamp log u. at_zero: f(0), the cost per unit of q where p is 0. slope_at_infinity: lim f(u)/u, the
    cost per unit of p where q is 0.
    """

    name: str
    perspective: Callable[[Tensor, Tensor], Tensor]
    f_prime: Callable[[Tensor], Tensor]
    at_zero: float
    slope_at_infinity: float

    def f(self, log_u: Tensor) -> Tensor:
        """f(u), elementwise in log u."""
        return self.perspective(log_u, torch.zeros_like(log_u))


def _js_perspective(logp: Tensor, logq: Tensor) -> Tensor:
    log_u = logp - logq
    return logp.exp() * (math.log(2) + F.logsigmoid(log_u)) + logq.exp() * (math.log(2) + F.logsigmoid(-log_u))


def _alpha_generator(alpha: float) -> Generator:
    if alpha == 0.0:
        return Generator("alpha", lambda p, q: p.exp() * (p - q) - p.exp() + q.exp(), lambda u: u, 1.0, math.inf)
    if alpha == 1.0:
        return Generator(
            "alpha", lambda p, q: q.exp() * (q - p) + p.exp() - q.exp(), lambda u: -torch.expm1(-u), math.inf, 1.0
        )

    def perspective(logp: Tensor, logq: Tensor) -> Tensor:
        power = ((1 - alpha) * logp + alpha * logq).exp()
        return (power - (1 - alpha) * logp.exp() - alpha * logq.exp()) / (alpha * (alpha - 1))

    return Generator(
        name="alpha",
        perspective=perspective,
        f_prime=lambda log_u: -torch.expm1(-alpha * log_u) / alpha,
        at_zero=1 / (1 - alpha) if alpha < 1 else math.inf,
        slope_at_infinity=1 / alpha if alpha > 0 else math.inf,
    )


def generator(name: Divergence, alpha: float | None = None) -> Generator:
    """The generator of a named f-divergence (u = p/q):

    - reverse_kl: u log u, f' = log u + 1; D_f = KL(p || q).
    - forward_kl: -log u, f' = -1/u; D_f = KL(q || p).
    - js: u log u - (u+1) log((u+1)/2), f' = log 2 + logsigmoid(log u); D_f = *twice* the Jensen-Shannon divergence.
    - alpha: (u^(1-a) - (1-a) u - a) / (a (a-1)), f' = (1 - u^-a) / a, a the paper's: a -> 0 reverse KL, a -> 1 forward
      KL, up to terms linear in u. (TRL's newer coefficient is 1 - a.)
    - chi2: (u-1)^2, f' = 2 (u-1). total_variation: |u-1| / 2, f' = sign(u-1) / 2. Their f' is finite at 0, which f-DPO
      excludes.

    Raises GuerdonError for an unknown name, or when `alpha` is missing or given to another divergence.
    """
    if (alpha is None) == (name == "alpha"):
        raise GuerdonError(
            f"`alpha` is a number for the divergence 'alpha' and None for all others, got {alpha} for {name!r}"
        )
    if alpha is not None:
        return _alpha_generator(float(alpha))
    if name == "reverse_kl":
        return Generator(name, lambda p, q: p.exp() * (p - q), lambda u: u + 1, 0.0, math.inf)
    if name == "forward_kl":
        return Generator(name, lambda p, q: q.exp() * (q - p), lambda u: -(-u).exp(), math.inf, 0.0)
    if name == "js":
        return Generator(name, _js_perspective, lambda u: math.log(2) + F.logsigmoid(u), math.log(2), math.log(2))
    if name == "chi2":
        # (p - q)^2 / q as one square: no subtraction of two large numbers, no 0 times infinity.
        return Generator(
            name, lambda p, q: ((p - q / 2).exp() - (q / 2).exp()).square(), lambda u: 2 * torch.expm1(u), 1.0, math.inf
        )
    if name == "total_variation":
        return Generator(name, lambda p, q: (p.exp() - q.exp()).abs() / 2, lambda u: u.sign() / 2, 0.5, 0.5)
    raise GuerdonError(f"unknown divergence {name!r}; known are {', '.join(GENERATORS)}")


def _float(x: Tensor) -> Tensor:
    return x if x.dtype == torch.float64 else x.float()


def f_divergence(logp: Tensor, logq: Tensor, of: Generator) -> Tensor:
    """D_f(p || q) of categorical distributions: log-probabilities [..., V], [..., V] -> [...], gradients to both.

    A log-probability of -inf is a probability of 0: its outcome costs f(0) per unit of q where p is 0 and f'(inf) per
    unit of p where q is 0 (infinity for reverse KL and chi2, respectively forward KL), and passes no gradient to the
    -inf side; neither value nor gradient is NaN.
    """
    logp, logq = torch.broadcast_tensors(_float(logp), _float(logq))
    no_p, no_q = logp == -math.inf, logq == -math.inf
    both = ~(no_p | no_q)
    # where() before the non-linear part: the gradient of exp(-inf) * (-inf) would be NaN.
    inside = of.perspective(torch.where(both, logp, 0.0), torch.where(both, logq, 0.0))
    cost = torch.where(both, inside, 0.0)
    only_q, only_p = no_p & ~no_q, no_q & ~no_p
    cost = cost + _edge(logq, only_q, of.at_zero) + _edge(logp, only_p, of.slope_at_infinity)
    return cost.sum(-1)


def _edge(log_mass: Tensor, where: Tensor, price: float) -> Tensor:
    mass = torch.where(where, torch.where(where, log_mass, 0.0).exp(), 0.0)
    if math.isinf(price):
        # Infinite whatever the mass: a constant, so that its gradient is 0 and not infinity.
        return torch.where(where & (mass > 0), math.inf, 0.0)
    return price * mass


def reverse_kl(logp: Tensor, logq: Tensor) -> Tensor:
    """KL(p || q) = sum p (log p - log q): [..., V], [..., V] -> [...].

    Infinite where q is 0 and p is not; see `f_divergence`.
    """
    return f_divergence(logp, logq, generator("reverse_kl"))


def forward_kl(logp: Tensor, logq: Tensor) -> Tensor:
    """KL(q || p): [..., V], [..., V] -> [...]. Infinite where p is 0 and q is not; see `f_divergence`."""
    return f_divergence(logp, logq, generator("forward_kl"))


def jensen_shannon(logp: Tensor, logq: Tensor) -> Tensor:
    """Half KL(p || m) plus half KL(q || m), m the mixture: [..., V], [..., V] -> [...], between 0 and log 2.

    Half of generator 'js'.
    """
    return f_divergence(logp, logq, generator("js")) / 2


def alpha_divergence(logp: Tensor, logq: Tensor, alpha: float) -> Tensor:
    """(1 - sum p^(1-a) q^a) / (a (1-a)): [..., V], [..., V] -> [...].

    A = 0 is reverse KL, a = 1 forward KL, each exactly.
    """
    return f_divergence(logp, logq, generator("alpha", alpha))


def chi_squared(logp: Tensor, logq: Tensor) -> Tensor:
    """sum (p - q)^2 / q = Var_q(p/q): [..., V], [..., V] -> [...].

    Its square root divides the bound of Laidlaw et al. 2024.
    """
    return f_divergence(logp, logq, generator("chi2"))


def total_variation(logp: Tensor, logq: Tensor) -> Tensor:
    """Half of sum |p - q|: [..., V], [..., V] -> [...], between 0 and 1."""
    return f_divergence(logp, logq, generator("total_variation"))


def kl_estimate(
    log_ratio: Tensor,
    kind: Estimator = "k1",
    *,
    gradient: EstimatorGradient,
    clamp_ratio: float | None = None,
    clamp_value: float | None = None,
) -> Tensor:
    """Estimate KL(p || q) per step from steps drawn from p (Schulman 2020): log_ratio = log p - log q, any shape -> the
    same shape.

    Values, with r = log_ratio: k1 = r (unbiased, may be negative); k2 = r^2 / 2 (biased, small when p is near q); k3 =
    exp(-r) - 1 + r (unbiased, never negative). The reference must be detached; mask log_ratio first (`reduce.masked`).

    `gradient` has no default because it decides what is learned. Expected gradients over samples from p:

    - 'none': detached, for a reward. The policy gradient of the penalty then is, for k1: grad KL(p || q), exactly;
      for k2: not the gradient of a KL; for k3: grad KL(p || q) - grad KL(q || p). Only k1 belongs in a reward.
    - 'pathwise': the formula differentiated as it stands, as a loss. k1: ZERO (the score has mean zero, so it restrains
      nothing); k2: grad KL(p || q), exactly; k3: grad KL(q || p), the FORWARD divergence.
    - 'k2': the value of `kind` with the gradient of k2 (straight-through): grad KL(p || q) for every kind.
    - 'score': pathwise plus the score-function term value x grad log p: the gradient of the expected value, so
      grad KL(p || q) for k1 and k3, and grad E[k2] for k2.

    A loss ADDS this to be minimised; a reward SUBTRACTS it. `clamp_ratio` limits |r| before, `clamp_value` limits
    |value| after the formula; both default to none, bias the estimate, and stop the pathwise gradient where they act
    (the 'k2' gradient feels only `clamp_ratio`; the score term stays). Unclamped, k3 overflows float32 below r = -88.
    Raises GuerdonError for an unknown kind or gradient.
    """
    log_ratio = _float(log_ratio)
    ratio = log_ratio if clamp_ratio is None else log_ratio.clamp(-clamp_ratio, clamp_ratio)
    value = _estimate(ratio, kind)
    if clamp_value is not None:
        value = value.clamp(-clamp_value, clamp_value)
    if gradient == "none":
        return value.detach()
    if gradient == "pathwise":
        return value
    if gradient == "k2":
        half_square = ratio.square() / 2
        return value.detach() + half_square - half_square.detach()
    if gradient == "score":
        return value + value.detach() * (log_ratio - log_ratio.detach())
    raise GuerdonError(f"gradient is 'none' (reward), 'pathwise', 'k2' or 'score' (losses), got {gradient!r}")


def _estimate(ratio: Tensor, kind: Estimator) -> Tensor:
    if kind == "k1":
        return ratio
    if kind == "k2":
        return ratio.square() / 2
    if kind == "k3":
        return torch.expm1(-ratio) + ratio
    raise GuerdonError(f"a KL estimator is 'k1', 'k2' or 'k3', got {kind!r}")


def _log(d: Tensor) -> Tensor:
    positive = d > 0
    return torch.where(positive, torch.where(positive, d, 1.0).log(), -math.inf)


def occupancy_divergence(d_pi: Tensor, d_ref: Tensor, of: Generator) -> Tensor:
    """D_f(d_pi || d_ref) of occupancy measures: [..., K], [..., K] -> [...], K the states, or states x actions
    flattened.

    Non-negative vectors that sum to 1 over K (normalise discounted counts by 1 - gamma first). Zeros as in
    `f_divergence`.
    """
    return f_divergence(_log(_float(d_pi)), _log(_float(d_ref)), of)


def occupancy_kl(d_pi: Tensor, d_ref: Tensor) -> Tensor:
    """KL(d_pi || d_ref): [..., K] -> [...]. Infinite where the reference never goes and the policy does."""
    return occupancy_divergence(d_pi, d_ref, generator("reverse_kl"))


def occupancy_chi2(d_pi: Tensor, d_ref: Tensor) -> Tensor:
    """chi^2(d_pi || d_ref) = sum (d_pi - d_ref)^2 / d_ref: [..., K] -> [...] (Laidlaw et al. 2024).

    Computed on the probabilities, so an outcome the policy does not visit keeps its gradient. Infinite off the
    reference's support.
    """
    d_pi, d_ref = _float(d_pi), _float(d_ref)
    reached = d_ref > 0
    cost = torch.where(reached, (d_pi - d_ref).square() / torch.where(reached, d_ref, 1.0), 0.0).sum(-1)
    return cost + torch.where(~reached & (d_pi > 0), math.inf, 0.0).sum(-1)


def occupancy_root_chi2(d_pi: Tensor, d_ref: Tensor) -> Tensor:
    """sqrt(chi^2(d_pi || d_ref)), the regulariser of occupancy-regularised policy optimisation: [..., K] -> [...].

    Gradient 0 at equality.
    """
    cost = occupancy_chi2(d_pi, d_ref)
    positive = cost > 0
    return torch.where(positive, torch.where(positive, cost, 1.0).sqrt(), 0.0)


def gaussian_kl(mean_p: Tensor, std_p: Tensor, mean_q: Tensor, std_q: Tensor) -> Tensor:
    """KL(N(mean_p, std_p^2) || N(mean_q, std_q^2)) per dimension: broadcastable shapes -> that shape; sum over
    dimensions yourself.

    log(std_q/std_p) + (std_p^2 + (mean_p - mean_q)^2) / (2 std_q^2) - 1/2. Standard deviations must be positive: 0
    gives inf or NaN. For two denoising kernels of equal std it is the squared difference of means over 2 std^2.
    """
    ratio = _float(std_p) / _float(std_q)
    gap = (_float(mean_p) - _float(mean_q)) / _float(std_q)
    return (ratio.square() + gap.square() - 1) / 2 - ratio.log()
