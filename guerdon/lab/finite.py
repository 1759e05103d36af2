"""finite: prompts × enumerated responses, where every law is exact and a comparison costs milliseconds.

X prompts with Y responses and D features each. The gold reward saturates in every feature and punishes excess of the
first ('length'); a learned reward is linear in the same features, so it is right near the reference and wrong where
optimisation goes. Optima, best-of-n laws and KL come from ``worlds.finite.exact``; objectives train through
``training.run``.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from guerdon.batch import Pairs, Samples, Seed
from guerdon.divergences import reverse_kl
from guerdon.errors import GuerdonError
from guerdon.objectives import Objective
from guerdon.training.optim import Optim
from guerdon.training.recipe import Recipe
from guerdon.training.sources import Recorded
from guerdon.worlds import Actors, Frozen, Snapshots, only
from guerdon.worlds.finite import FiniteRows, FiniteWorld, LinearPolicy, exact


@dataclass(frozen=True)
class Finite:
    """One testbed. features: [X,Y,D]; gold: [X,Y]; reference: log-probabilities [X,Y]."""

    features: Tensor
    gold: Tensor
    reference: Tensor

    @property
    def start(self) -> float:
        """Expected gold of the reference."""
        return float(exact.expected(self.reference, self.gold).mean())

    def fresh(self) -> tuple[FiniteWorld, Snapshots]:
        """A world and a policy log-linear in the features that starts at the reference, with its copy 'reference'."""
        return FiniteWorld(self.features), Snapshots(
            LinearPolicy(self.features, base=self.reference), reference=Frozen()
        )


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
    coverage: share of the prompts, and of each one's responses (its likeliest), that pairs are drawn from, in (0, 1].
    """
    if not 0 < coverage <= 1:
        raise GuerdonError(f"coverage must lie in (0, 1], but {coverage} came.")
    g = seed.child("pairs").torch()
    x, y = bed.reference.shape
    kept = max(2, round(coverage * y))
    threshold = bed.reference.topk(kept, dim=-1).values[:, -1:]
    chances = torch.where(bed.reference >= threshold, bed.reference.exp(), 0.0)
    prompt = torch.randint(max(1, round(coverage * x)), (n,), generator=g)
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


def accuracy(bed: Finite, reward: Tensor) -> float:
    """P(the reward orders two reference draws of one prompt as gold does), ties left out."""
    p = bed.reference.exp()
    weight = p[..., :, None] * p[..., None, :]
    gold = bed.gold[..., :, None] - bed.gold[..., None, :]
    said = reward[..., :, None] - reward[..., None, :]
    weight = torch.where(gold != 0, weight, 0.0)
    return float((weight * (gold.sign() == said.sign())).sum() / weight.sum())


def frontier(bed: Finite, reward: Tensor, coefficients: Sequence[float]) -> list[tuple[float, float]]:
    """(KL, gold) of the KL-regularised optimum of ``reward`` at every coefficient β > 0, exactly."""
    betas = torch.tensor(coefficients)[:, None].expand(-1, len(bed.gold))
    policies = exact.tilted(bed.reference, reward, betas)
    kls, golds = reverse_kl(policies, bed.reference).mean(-1), exact.expected(policies, bed.gold).mean(-1)
    # Rounding may leave a KL of almost 0 just below it.
    return [(max(0.0, float(k)), float(g)) for k, g in zip(kls, golds, strict=True)]


def offline(
    bed: Finite, compared: Comparisons, objective: Objective, lr: float = 0.05, rounds: int = 100, at_once: int = 0
) -> Recipe:
    """Any objective on pairs over recorded comparisons: full batch (or ``at_once`` pairs a round), Adam, no clip."""
    world, snapshots = bed.fresh()
    n = len(compared)
    rows = FiniteRows(compared.prompt.repeat(2), torch.cat([compared.winner, compared.loser]))
    over = torch.ones(2 * n, dtype=torch.bool)
    samples = Samples(rows, rows.prompt.tolist(), rows.response.tolist(), terminated=over, truncated=~over)
    source = Recorded(samples, at_once or n, Pairs(torch.arange(n), torch.arange(n, 2 * n)))
    return Recipe(world, snapshots, source, objective, Optim(lr=lr, kind="adam", clip=None), rounds)


@torch.no_grad()
def evaluate(bed: Finite, policy: Actors) -> dict[str, float]:
    """Exact gold and KL to the reference, averaged over prompts."""
    with only(policy).using("policy") as module:
        logp = module().log_softmax(-1)
    return {
        "gold": float(exact.expected(logp, bed.gold).mean()),
        "kl": float(reverse_kl(logp, bed.reference).mean()),
    }
