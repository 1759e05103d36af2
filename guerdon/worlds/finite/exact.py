"""Exact answers on finite sets: tilted optima, best-of-n laws, frontiers and gradients, as ground truth for what
samples.

Policies and references are log-probabilities [...,Y] over responses, rewards [...,Y]; leading dimensions are prompts.
Divergences between them are in ``guerdon.divergences`` and are exact here too. A response of probability 0 has
log-probability −inf.
"""

import torch
from torch import Tensor

from guerdon.divergences import reverse_kl
from guerdon.errors import GuerdonError


def expected(logp: Tensor, value: Tensor) -> Tensor:
    """E_p[value] [...]: the value under a response of probability 0 is not read."""
    return torch.where(logp > -torch.inf, logp.exp() * value, 0.0).sum(-1)


def tilted(reference: Tensor, reward: Tensor, beta: float | Tensor) -> Tensor:
    """log π*(y) = log π_ref(y) + r(y)/β − log Z [...,Y], the optimum of E_π r − β·KL(π‖π_ref) (Rafailov et al. 2023,
    eq. 4).

    beta > 0, a number or [...] (one a prompt); negative rewards of −inf give probability 0. Raises GuerdonError at
    beta <= 0.
    """
    beta = torch.as_tensor(beta, dtype=reward.dtype)
    if bool((beta <= 0).any()):
        raise GuerdonError(f"tilted needs beta > 0, but {float(beta.min())} came.")
    return torch.log_softmax(reference + reward / beta.unsqueeze(-1), -1)


def log_partition(reference: Tensor, reward: Tensor, beta: float) -> Tensor:
    """β·log E_ref e^{r/β} [...]: the value E_π r − β·KL that the tilted optimum attains (the soft value)."""
    return beta * (torch.logsumexp(reference + reward / beta, -1) - torch.logsumexp(reference, -1))


def objective(logp: Tensor, reference: Tensor, reward: Tensor, beta: float) -> Tensor:
    """E_π r − β·KL(π‖π_ref) [...]. At any π it falls short of ``log_partition`` by exactly β·KL(π‖π*)."""
    return expected(logp, reward) - beta * reverse_kl(logp, reference)


def objective_gradient(logp: Tensor, reference: Tensor, reward: Tensor, beta: float) -> Tensor:
    """Gradient [...,Y] of ``objective`` in the logits of a softmax policy: π(y)·(a(y) − E_π a) with a = r −
    β·log(π/π_ref). What the mean of any unbiased policy-gradient estimator must be."""
    gain = reward - beta * (logp - reference) if beta else reward
    gain = torch.where(logp > -torch.inf, gain, 0.0)
    return logp.exp() * (gain - expected(logp, gain).unsqueeze(-1))


def best_of_n(reference: Tensor, reward: Tensor, n: float) -> Tensor:
    """log π_n(y) [...,Y] of the best of n draws by ``reward``, ties broken evenly among the draws:

    π_n(y) = p(y)/p(r = r(y)) · [F(r(y))^n − F(r(y)⁻)^n], F the distribution function of the reward (Yang et al. 2024,
    "Asymptotics of language model alignment"). Any real n >= 1; n = 1 is the reference. Computed in float64 without
    cancellation at F near 1.
    """
    if n < 1:
        raise GuerdonError(f"best_of_n needs n >= 1, but {n} came.")
    p = reference.double().exp()
    same = reward.unsqueeze(-1) == reward.unsqueeze(-2)
    below = reward.unsqueeze(-1) > reward.unsqueeze(-2)  # [y, y']: y' is worse than y
    above = ~(same | below)
    tied = torch.where(same, p.unsqueeze(-2), 0.0).sum(-1)
    # log F from the mass above it, which keeps full precision where F is near 1.
    worse = torch.where(below, p.unsqueeze(-2), 0.0).sum(-1)
    better = torch.where(above, p.unsqueeze(-2), 0.0).sum(-1)
    log_upto = torch.where(better < 0.5, torch.log1p(-better), (worse + tied).log())
    log_below = torch.where(worse > 0.5, torch.log1p(-(better + tied).clamp(max=1.0)), worse.log())
    gap = torch.where(tied > 0, n * (log_upto - log_below), 1.0)
    logp = reference.double() - tied.log() + n * log_upto + torch.log(-torch.expm1(-gap))
    return torch.where(p > 0, logp, -torch.inf).to(reference.dtype)


def tilt_at_kl(reference: Tensor, reward: Tensor, kl: float, steps: int = 100) -> tuple[Tensor, Tensor]:
    """(log π* [...,Y], λ [...]): the tilted policy π_ref·e^{λr}/Z whose KL to the reference is ``kl``: the highest
    reward that KL can buy, which is the frontier every method is measured against (Yang et al. 2024).

    Where ``kl`` is at least log 1/P_ref(maximisers), λ is inf and the policy is the reference restricted to the
    maximisers.
    """
    top = reward.masked_fill(reference == -torch.inf, -torch.inf).amax(-1, keepdim=True)
    best = torch.log_softmax(torch.where(reward == top, reference, -torch.inf), -1)
    out_of_reach = reverse_kl(best, reference) <= kl
    gap = torch.where(reference > -torch.inf, reward - top, 0.0)
    spread = (-gap).amax(-1).clamp(min=1e-30)
    low, high = torch.zeros_like(spread), torch.full_like(spread, 50.0) / spread

    def at(rate: Tensor) -> Tensor:
        return torch.log_softmax(reference + rate.unsqueeze(-1) * gap, -1)

    for _ in range(steps):  # first grow the bracket, then halve it
        grow = (reverse_kl(at(high), reference) < kl) & ~out_of_reach
        if not bool(grow.any()):
            break
        high = torch.where(grow, 2 * high, high)
    for _ in range(steps):
        middle = (low + high) / 2
        short = reverse_kl(at(middle), reference) < kl
        low, high = torch.where(short, middle, low), torch.where(short, high, middle)
    rate = torch.where(out_of_reach, torch.inf, (low + high) / 2)
    return torch.where(out_of_reach.unsqueeze(-1), best, at((low + high) / 2)), rate


def win_rate(logp: Tensor, other: Tensor, preference: Tensor) -> Tensor:
    """P(y ≻ y') [...] for y ~ p and y' ~ other, from preference [...,Y,Y] = P(row ≻ column)."""
    return torch.einsum("...y,...yz,...z->...", logp.exp(), preference, other.exp())


def bradley_terry(reward: Tensor) -> Tensor:
    """P(row ≻ column) = σ(r(row) − r(column)) [...,Y,Y]."""
    return torch.sigmoid(reward.unsqueeze(-1) - reward.unsqueeze(-2))
