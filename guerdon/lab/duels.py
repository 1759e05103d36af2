"""duels: prompts × enumerated responses and who beats whom, in circles; policies learn from duels of their own samples.

Each prompt has its own rock-paper-scissors between three clusters of responses, so that no reward explains its
preferences, no response is best, and the minimax winner mixes the clusters. Exploitability is exact.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from guerdon.batch import Channel, Samples, Scores, Seed
from guerdon.objectives import Objective
from guerdon.rewards.interface import Context, Reward, State
from guerdon.training.builds import whole
from guerdon.training.companions import Companion
from guerdon.training.duels import Judge
from guerdon.training.optim import Optim
from guerdon.training.recipe import Build, Estimator, Recipe, Rollout, Round, plain
from guerdon.training.sources import Prompts
from guerdon.worlds import CopyEvery, Sampling, Snapshots, only
from guerdon.worlds.finite import FiniteWorld, TabularPolicy, lookup

CLUSTERS = 3


@dataclass(frozen=True)
class Contest:
    """One testbed. preference: [X,Y,Y] = P(row ≻ column), P + Pᵀ = 1; start: the policy's first logits [X,Y]."""

    seed: Seed
    preference: Tensor
    start: Tensor

    @property
    def judge(self) -> Judge:
        """Who knows all preferences."""

        def call(rollout: Rollout, first: Tensor, second: Tensor) -> Tensor:
            rows = rollout.samples.payload
            return self.preference[rows.prompt[first], rows.response[first], rows.response[second]]

        return Judge("contest", call)

    def exploitability(self, law: Tensor) -> float:
        """max_y P(y ≻ π) − ½ of a policy [X,Y], the mean over prompts: 0 at the minimax winner alone."""
        return float(torch.einsum("xyz,xz->xy", self.preference, law).amax(-1).mean()) - 0.5


def contest(seed: Seed, prompts: int = 24, responses: int = 9, strength: float = 2.0, spread: float = 0.5) -> Contest:
    """A testbed drawn from ``seed``: logit P(y ≻ y′) = ± s where y's cluster beats that of y′, plus q(y) − q(y′).

    s: one number for each of a prompt's three edges of the circle, uniform in [½, 3⁄2]·strength; q: normal qualities of
    standard deviation ``spread``. The policy starts from normal logits. Response y is of cluster y mod 3.
    """
    g = seed.child("contest").torch()
    edge = strength * (0.5 + torch.rand(prompts, CLUSTERS, generator=g))
    circle = torch.zeros(prompts, CLUSTERS, CLUSTERS)
    for c in range(CLUSTERS):
        after = (c + 1) % CLUSTERS
        circle[:, c, after], circle[:, after, c] = edge[:, c], -edge[:, c]
    cluster = torch.arange(responses) % CLUSTERS
    quality = spread * torch.randn(prompts, responses, generator=g)
    logit = circle[:, cluster][:, :, cluster] + quality[:, :, None] - quality[:, None, :]
    return Contest(seed, torch.sigmoid(logit), torch.randn(prompts, responses, generator=g))


class Averaging(Companion):
    """The mean over rounds of the policy's law [X,Y]: what the guarantees of self-play are about."""

    def __init__(self, name: str = "averaging") -> None:
        self.name, self.rounds, self.total = name, 0, torch.zeros(())

    @property
    def law(self) -> Tensor:
        """The mean so far."""
        return self.total / max(1, self.rounds)

    def after_round(self, round: Round) -> Mapping[str, float]:
        """Add the law after the round."""
        self.total, self.rounds = self.total + law_of(round.recipe), self.rounds + 1
        return {}

    def state_dict(self) -> dict[str, Any]:
        """Sum and count."""
        return {"rounds": self.rounds, "total": self.total}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Bit for bit."""
        self.rounds, self.total = int(state["rounds"]), state["total"].clone()


class FittedScores(Reward):
    """Bradley–Terry scores of all responses, fitted to every duel so far between rows of one prompt: what iterated
    RLHF makes of preferences that no score explains. Every call adds its duels and takes ``steps`` steps of
    minorisation on the ridge-penalised likelihood."""

    name = "fitted"
    channels = ("fitted",)

    def __init__(self, bed: Contest, ridge: float = 0.1, steps: int = 10) -> None:
        self.bed, self.ridge, self.steps = bed, ridge, steps

    def init(self) -> State:
        """No duel yet; all scores 0."""
        return {"met": torch.zeros_like(self.bed.preference), "scores": torch.zeros_like(self.bed.start)}

    def score(self, samples: Samples, state: State, context: Context) -> tuple[Scores, State]:
        """The fitted score of every row."""
        rows = samples.payload
        count = torch.zeros_like(self.bed.start).index_put(
            (rows.prompt, rows.response), torch.ones(len(rows)), accumulate=True
        )
        met, fitted = state["met"] + count[:, :, None] * count[:, None, :], state["scores"]
        bound = 0.5 * met.sum(-1) + self.ridge
        for _ in range(self.steps):
            surplus = met * (self.bed.preference - torch.sigmoid(fitted[:, :, None] - fitted[:, None, :]))
            fitted = fitted + (surplus.sum(-1) - self.ridge * fitted) / bound
        return Scores({self.name: Channel(lookup(fitted, samples))}), {"met": met, "scores": fitted}


def online(
    bed: Contest,
    objective: Objective,
    *,
    build: Build | None = None,
    estimator: Estimator | None = None,
    reward: Reward | None = None,
    rounds: int = 240,
    every: int = 12,
    per_start: int = 5,
    lr: float = 0.1,
    sampler: str = "reference",
    companions: Sequence[Companion] = (),
) -> Recipe:
    """Any objective on ``per_start`` samples of every prompt a round; 'reference' is the policy at the start of each
    iteration of ``every`` rounds, and draws unless ``sampler`` says otherwise. Adam, no clip."""
    snapshots = Snapshots(TabularPolicy(bed.start), reference=CopyEvery(every))
    prompts = len(bed.start)
    return Recipe(
        FiniteWorld(),
        snapshots,
        Prompts(list(range(prompts)), prompts, None),
        objective,
        Optim(lr=lr, kind="adam", clip=None),
        rounds,
        bed.seed.child("online"),
        reward=reward,
        sampling=Sampling(snapshot=sampler),
        per_start=per_start,
        estimator=estimator or plain(),
        build=build or whole(),
        companions=tuple(companions),
    )


@torch.no_grad()
def law_of(recipe: Recipe) -> Tensor:
    """The policy's law [X,Y]."""
    with only(recipe.snapshots).using("policy") as module:
        return torch.softmax(module(), -1)


def measured(bed: Contest, recipe: Recipe, average: Averaging) -> dict[str, float]:
    """Exploitability of the average policy, of the last one and of the start."""
    return {
        "exploitability": bed.exploitability(average.law),
        "last": bed.exploitability(law_of(recipe)),
        "start": bed.exploitability(torch.softmax(bed.start, -1)),
    }
