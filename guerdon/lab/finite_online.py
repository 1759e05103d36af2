"""The finite testbed sampled from: a table as a reward, and PPO with a value a prompt."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from guerdon.batch import Channel, Samples, Scores, Seed
from guerdon.lab.finite import Finite
from guerdon.rewards.interface import Context, Reward, State
from guerdon.training.recipe import Recipe
from guerdon.training.sources import Prompts
from guerdon.training.unpacked import unpacked_ppo
from guerdon.worlds import Frozen, Sampling, Snapshots
from guerdon.worlds.finite import FiniteWorld, LinearPolicy, lookup


@dataclass(frozen=True)
class TableReward(Reward):
    """A reward that is known for every prompt and response: table [X,Y]."""

    table: Tensor
    name: str = "table"
    channels: tuple[str, ...] = ("table",)

    def score(self, samples: Samples, state: State, context: Context) -> tuple[Scores, State]:
        """The table's entry of every row; stateless."""
        return Scores({self.channels[0]: Channel(lookup(self.table, samples))}), state


def ppo(
    bed: Finite, reward: Tensor, kl: float, seed: Seed, rounds: int = 60, lr: float = 0.05, each: int = 16
) -> Recipe:
    """``training.unpacked.unpacked_ppo`` on a reward [X,Y]: ``each`` samples of every prompt a round at temperature 1,
    two minibatches, a free value a prompt, policy and values from the reference and from 0."""
    head = nn.Embedding(len(bed.gold), 1)
    nn.init.zeros_(head.weight)
    world = FiniteWorld(bed.features, {"total": head})
    snapshots = Snapshots(LinearPolicy(bed.features, base=bed.reference), reference=Frozen())
    starts = [x for x in range(len(bed.gold)) for _ in range(each)]
    return unpacked_ppo(
        world,
        snapshots,
        Prompts(starts, len(starts), seed.child("prompts")),
        TableReward(reward),
        head,
        rounds=rounds,
        kl=kl,
        parts=2,
        lr=lr,
        sampling=Sampling(),
        seed=seed.child("ppo"),
    )


def reads_first(bed: Finite, features: int) -> Finite:
    """The same testbed as seen by a reward model that reads the first ``features`` features alone."""
    return Finite(bed.features[..., :features], bed.gold, bed.reference)


def styled(
    bed: Finite, seed: Seed, ours: float = -3.0, theirs: float = 3.0, better: float = 0.5
) -> tuple[Finite, Tensor]:
    """(testbed, another writer's log-probs [X,Y]): half of the responses carry a style, a last feature of 0 or 1 that
    gold does not read. ours, theirs: what it adds to a response's logit under the reference and under the other writer;
    better: how far gold tilts that writer."""
    style = (torch.rand(bed.gold.shape, generator=seed.child("style").torch()) < 0.5).float()
    features = torch.cat([bed.features, style[..., None]], -1)
    other = (bed.reference + theirs * style + better * bed.gold).log_softmax(-1)
    return Finite(features, bed.gold, (bed.reference + ours * style).log_softmax(-1)), other
