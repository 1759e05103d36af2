"""trees: a small tree MDP in which every leaf's probability is known, to see where direct alignment puts its mass.

Pairs name few of the leaves, so that rewards of the others are not determined by them (Rafailov et al. 2024,
2406.02900, section 5): an objective's optima may lie on leaves that no pair has shown.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from guerdon.batch import Pairs, Samples, Seed
from guerdon.divergences import reverse_kl
from guerdon.objectives import Objective
from guerdon.training.optim import Optim
from guerdon.training.recipe import Recipe
from guerdon.training.sources import Recorded
from guerdon.worlds import Actors, Frozen, Snapshots, only
from guerdon.worlds.finite import FiniteRows, FiniteWorld, exact


class TreePolicy(nn.Module):
    """A softmax over the branches of every node; ``policy()`` is [1, leaves], the log-probabilities of all paths.

    logits: per level k the tensor [b^k, b].
    """

    def __init__(self, logits: list[Tensor]) -> None:
        super().__init__()
        self.levels = nn.ParameterList([nn.Parameter(x.detach().clone()) for x in logits])

    def forward(self) -> Tensor:
        """Log-probabilities of the leaves [1, b^depth], by adding up the steps of every path."""
        logp = torch.zeros(1)
        for level in self.levels:
            logp = (logp[:, None] + level.log_softmax(-1)).flatten()
        return logp[None]


@dataclass(frozen=True)
class Tree:
    """One testbed: the reference's logits a level, gold of the leaves [L], and the P pairs as leaves int64 [P]."""

    logits: list[Tensor]
    gold: Tensor
    winner: Tensor
    loser: Tensor

    @property
    def seen(self) -> Tensor:
        """bool [L]: leaves that stand in a pair."""
        seen = torch.zeros(len(self.gold), dtype=torch.bool)
        seen[self.winner] = True
        seen[self.loser] = True
        return seen


def tree(seed: Seed, pairs: int = 6, depth: int = 3, branches: int = 4) -> Tree:
    """A tree of branches^depth leaves: reference logits N(0, ½²) a branch, gold N(0, 1) a leaf, and ``pairs`` of two
    different leaves drawn from the reference, the one of higher gold first."""
    g = seed.child("tree").torch()
    logits = [0.5 * torch.randn(branches**k, branches, generator=g) for k in range(depth)]
    gold = torch.randn(branches**depth, generator=g)
    with torch.no_grad():
        chances = TreePolicy(logits)()[0].exp()
    drawn = torch.multinomial(chances.expand(pairs, -1), 2, generator=g)
    first = gold[drawn[:, 0]] > gold[drawn[:, 1]]
    return Tree(
        logits, gold, torch.where(first, drawn[:, 0], drawn[:, 1]), torch.where(first, drawn[:, 1], drawn[:, 0])
    )


def offline(bed: Tree, objective: Objective, lr: float = 0.05, rounds: int = 100) -> Recipe:
    """Any objective on pairs over all pairs at once, from the reference: Adam, no clip."""
    rows = FiniteRows(torch.zeros(2 * len(bed.winner), dtype=torch.int64), torch.cat([bed.winner, bed.loser]))
    n, over = len(bed.winner), torch.ones(len(rows), dtype=torch.bool)
    samples = Samples(rows, rows.prompt.tolist(), rows.response.tolist(), terminated=over, truncated=~over)
    source = Recorded(samples, n, Pairs(torch.arange(n), torch.arange(n, 2 * n)))
    snapshots = Snapshots(TreePolicy(bed.logits), reference=Frozen())
    return Recipe(FiniteWorld(), snapshots, source, objective, Optim(lr=lr, kind="adam", clip=None), rounds)


@torch.no_grad()
def evaluate(bed: Tree, policy: Actors) -> dict[str, float]:
    """Exact 'gold', 'kl' to the reference, and 'unseen', the probability of leaves that stand in no pair."""
    with only(policy).using("policy") as module:
        logp = module()[0]
    reference = TreePolicy(bed.logits)()[0]
    return {
        "gold": float(exact.expected(logp, bed.gold)),
        "kl": float(reverse_kl(logp, reference)),
        "unseen": float(logp.exp()[~bed.seen].sum()),
    }
