"""Who beats whom within a round: a judge of two rows, all duels of a prompt's rows, and the win rates they give."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from guerdon import reduce
from guerdon.training.estimators import row_reward
from guerdon.training.recipe import Rollout


@dataclass(frozen=True)
class Judge:
    """call: (rollout, first int64 [E], second int64 [E]) -> P(first ≻ second) [E] in [0, 1], ½ a tie, NaN where it does
    not judge. needs: paths that it reads of the rollout ('scores').

    Duels are asked in one order each and the other order taken as 1 − P; ``both_orders`` asks twice, for judges that
    prefer a position.
    """

    name: str
    call: Callable[[Rollout, Tensor, Tensor], Tensor]
    needs: tuple[str, ...] = ()

    def __call__(self, rollout: Rollout, first: Tensor, second: Tensor) -> Tensor:
        return self.call(rollout, first, second)


def by_score(channel: str | None = None, temperature: float = 1.0) -> Judge:
    """σ((s_first − s_second)/temperature) of the reward (or of its ``channel``): Bradley–Terry on scores.

    At temperature 0 the higher score wins for certain. Rows without a valid score are not judged.
    """

    def call(rollout: Rollout, first: Tensor, second: Tensor) -> Tensor:
        value, ok = row_reward(rollout, channel=channel)
        value, ok = value.cpu(), ok.cpu()
        gap = value[first] - value[second]
        p = torch.sigmoid(gap / temperature) if temperature > 0 else 0.5 * (1 + torch.sign(gap))
        return torch.where(ok[first] & ok[second], p, torch.nan)

    return Judge(f"by_score({channel}, {temperature})", call, ("scores",))


def both_orders(judge: Judge) -> Judge:
    """½(P(a ≻ b) + 1 − P(b ≻ a)): antisymmetric whatever the judge thinks of positions."""

    def call(rollout: Rollout, first: Tensor, second: Tensor) -> Tensor:
        return 0.5 * (judge(rollout, first, second) + 1 - judge(rollout, second, first))

    return Judge(f"both_orders({judge.name})", call, judge.needs)


@dataclass(frozen=True)
class Duels:
    """E duels between N rows: first < second int64 [E] in rising order, p [E] = P(first ≻ second), NaN where not
    judged; ids int64 [N]: the group of every row."""

    first: Tensor
    second: Tensor
    p: Tensor
    ids: Tensor

    def win_rate(self, itself: bool = False, log_weight: Tensor | None = None) -> Tensor:
        """P̂(y ≻ π) [N] of every row: the mean over its judged opponents, NaN where it has none.

        itself: the row is one of its opponents, a tie (SPPO's 1/K Σ_j with j = k). log_weight: [N], opponents count by
        its exponential (importance weights, self-normalised within the group; any constant a group cancels).
        """
        n = len(self.ids)
        own = torch.zeros(n, dtype=torch.float64) if log_weight is None else log_weight.detach().cpu().double()
        top = reduce.group_max(own, self.ids)
        weight = torch.where(self.ids >= 0, torch.exp(own - top), 1.0)
        judged = torch.isfinite(self.p)
        a, b, p = self.first[judged], self.second[judged], self.p[judged].double()
        won = torch.zeros(n, dtype=torch.float64).index_add(0, a, p * weight[b]).index_add(0, b, (1 - p) * weight[a])
        met = torch.zeros(n, dtype=torch.float64).index_add(0, a, weight[b]).index_add(0, b, weight[a])
        alone = met <= 0
        if itself:
            won, met = won + 0.5 * weight, met + weight
        return torch.where(alone, torch.nan, won / torch.where(alone, 1.0, met)).float()

    def between(self, winner: Tensor, loser: Tensor) -> Tensor:
        """P(winner ≻ loser) [P] of duels that took place."""
        n = len(self.ids)
        keys = self.first * n + self.second
        at = torch.searchsorted(keys, torch.minimum(winner, loser) * n + torch.maximum(winner, loser))
        return torch.where(winner < loser, self.p[at], 1 - self.p[at])


def duels(rollout: Rollout, judge: Judge, partition: str = "prompt") -> Duels:
    """Every two rows of a group, judged once."""
    ids = rollout.samples.partition(partition).ids.cpu()
    same = (ids[:, None] == ids[None, :]) & (ids >= 0)[:, None]
    first, second = same.triu(1).nonzero().unbind(-1)
    return Duels(first, second, judge(rollout, first, second).detach().cpu().float(), ids)
