"""finite: prompts × enumerated responses, where every law is exact and a comparison costs milliseconds.

Tensors are [...,X,Y]: X prompts, Y responses each, and any leading dimensions (seeds, coefficients), so that a whole
sweep is one tensor program. The gold reward saturates in every feature and punishes excess of the first ('length');
a learned reward is linear in the same features, so it is right near the reference and wrong where optimisation goes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from guerdon.batch import Seed
from guerdon.errors import GuerdonError


@dataclass(frozen=True)
class Finite:
    """One testbed. features: [X,Y,D]; gold: [X,Y]; reference: log-probabilities [X,Y]."""

    features: Tensor
    gold: Tensor
    reference: Tensor

    @property
    def start(self) -> float:
        """Expected gold of the reference."""
        return float(expected(self.reference, self.gold))


@dataclass(frozen=True)
class Comparisons:
    """P labelled pairs: prompt, winner, loser int64 [P], and whether the label was flipped, bool [P]."""

    prompt: Tensor
    winner: Tensor
    loser: Tensor
    flipped: Tensor

    def __len__(self) -> int:
        return len(self.prompt)


def excess(features: Tensor) -> Tensor:
    """What gold takes off for 'length' [...]: min(6, 1.5·relu(φ_0 − 1)²)."""
    return (1.5 * (features[..., 0] - 1).clamp_min(0).square()).clamp_max(6)


def finite(seed: Seed, prompts: int = 16, responses: int = 128, features: int = 8) -> Finite:
    """A testbed drawn from ``seed``.

    gold = Σ_j w_j·tanh(φ_j) − min(6, 1.5·relu(φ_0 − 1)²), φ_0 twice as wide as the other features; the reference
    prefers ordinary responses, so that extreme ones are rare in its pairs and common under strong optimisation.
    """
    g = seed.child("finite").torch()
    phi = torch.randn(prompts, responses, features, generator=g)
    weights = 0.5 + torch.rand(features, generator=g)
    phi[..., 0] *= 2
    gold = (phi.tanh() * weights).sum(-1) - excess(phi)
    taste = 0.5 * torch.randn(prompts, responses, generator=g) - 0.35 * phi.square().sum(-1)
    return Finite(phi, gold, taste.log_softmax(-1))


def compare(
    bed: Finite, n: int, seed: Seed, flip: float = 0.0, length: float = 0.0, coverage: float = 1.0
) -> Comparisons:
    """``n`` pairs of two different responses drawn from the reference and labelled by Bradley–Terry on gold.

    flip: probability of a wrong label. length: added to the label's logit a unit of φ_0 (annotators who like length).
    coverage: share of each prompt's responses, its most likely ones, that pairs are drawn from, in (0, 1].
    """
    if not 0 < coverage <= 1:
        raise GuerdonError(f"coverage must lie in (0, 1], but {coverage} came.")
    g = seed.child("pairs").torch()
    x, y = bed.reference.shape
    kept = max(2, round(coverage * y))
    threshold = bed.reference.topk(kept, dim=-1).values[:, -1:]
    chances = torch.where(bed.reference >= threshold, bed.reference.exp(), 0.0)
    prompt = torch.randint(x, (n,), generator=g)
    pair = torch.multinomial(chances[prompt], 2, generator=g)
    a, b = pair.unbind(-1)
    logit = bed.gold[prompt, a] - bed.gold[prompt, b]
    logit = logit + length * (bed.features[prompt, a, 0] - bed.features[prompt, b, 0])
    first = torch.rand(n, generator=g) < logit.sigmoid()
    flipped = torch.rand(n, generator=g) < flip
    first = first ^ flipped
    return Comparisons(prompt, torch.where(first, a, b), torch.where(first, b, a), flipped)


def fit_reward(bed: Finite, pairs: Comparisons, ridge: float = 1.0, rounds: int = 8) -> Tensor:
    """Bradley–Terry reward [X,Y], linear in the features, by Newton steps on the ridge-penalised likelihood."""
    gap = bed.features[pairs.prompt, pairs.winner] - bed.features[pairs.prompt, pairs.loser]
    weight = torch.zeros(gap.shape[-1])
    eye = ridge * torch.eye(gap.shape[-1])
    for _ in range(rounds):
        p = (gap @ weight).sigmoid()
        gradient = gap.T @ (1 - p) - ridge * weight
        hessian = (gap * (p * (1 - p))[:, None]).T @ gap + eye
        weight = weight + torch.linalg.solve(hessian, gradient)
    return bed.features @ weight


def tilted(reference: Tensor, reward: Tensor, coefficients: Tensor | Sequence[float]) -> Tensor:
    """Log-probabilities [C,...,X,Y] of π ∝ π_ref·exp(r/β) for every coefficient β > 0: the KL-regularised optimum."""
    beta = torch.as_tensor(coefficients, dtype=reward.dtype).reshape(-1, *(1 for _ in reward.shape))
    return (reference + reward / beta).log_softmax(-1)


def best_of_n(reference: Tensor, reward: Tensor, n: int) -> Tensor:
    """Exact log-law [...,X,Y] of the best of ``n`` independent draws by ``reward``; ties share by probability.

    A response wins with F(r)^n − F(r−)^n, F the reference's distribution function of the reward.
    """
    p = reference.double().exp()
    order = reward.argsort(-1)
    ranked, values = p.gather(-1, order), reward.gather(-1, order)
    upto = ranked.cumsum(-1)
    new = torch.ones_like(values, dtype=torch.bool)
    new[..., 1:] = values[..., 1:] != values[..., :-1]
    level = new.cumsum(-1) - 1
    mass = torch.zeros_like(ranked).scatter_add(-1, level, ranked)
    top = mass.cumsum(-1)
    won = top.pow(n) - (top - mass).clamp_min(0).pow(n)
    share = won.gather(-1, level) * ranked / mass.gather(-1, level).clamp_min(1e-300)
    law = torch.zeros_like(share).scatter(-1, order, share / upto[..., -1:].pow(n))
    return law.clamp_min(1e-300).log().to(reference.dtype)


def expected(policy: Tensor, value: Tensor) -> Tensor:
    """Expectation [...] of value [X,Y] under log-probabilities [...,X,Y], averaged over prompts."""
    return (policy.exp() * value).sum(-1).mean(-1)


def kl(policy: Tensor, reference: Tensor) -> Tensor:
    """KL(policy ‖ reference) [...] in nats, averaged over prompts."""
    p = policy.exp()
    return torch.where(p > 0, p * (policy - reference), 0.0).sum(-1).mean(-1)


def accuracy(bed: Finite, reward: Tensor) -> float:
    """P(the reward orders two reference draws of one prompt as gold does), ties left out."""
    p = bed.reference.exp()
    weight = p[..., :, None] * p[..., None, :]
    gold = bed.gold[..., :, None] - bed.gold[..., None, :]
    said = reward[..., :, None] - reward[..., None, :]
    weight = torch.where(gold != 0, weight, 0.0)
    return float((weight * (gold.sign() == said.sign())).sum() / weight.sum())


def frontier(bed: Finite, reward: Tensor, coefficients: Sequence[float]) -> list[tuple[float, float]]:
    """(KL, gold) of the KL-regularised optimum of ``reward`` at every coefficient, exactly."""
    policies = tilted(bed.reference, reward, coefficients)
    kls, golds = kl(policies, bed.reference), expected(policies, bed.gold)
    return [(max(0.0, float(k)), float(g)) for k, g in zip(kls, golds, strict=True)]
