"""What a run is made of: one frozen recipe, and what its parts hand to each other within a round."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from guerdon.batch import Batch, Channel, Lists, Pairs, Predictions, Samples, Scores, Seed, Steps
from guerdon.errors import GuerdonError
from guerdon.objectives import Objective
from guerdon.rewards.interface import Combine, Reward
from guerdon.training.optim import Optim
from guerdon.training.sources import Source
from guerdon.worlds.interface import Hook, Sampling, World
from guerdon.worlds.snapshots import Actors

if TYPE_CHECKING:
    from guerdon.training.companions import Companion

ROW = "rollout_row"
"""The column of a training batch that says which row of the rollout each row is."""


@dataclass(frozen=True)
class Rollout:
    """One round's material before any gradient: what was sampled or recorded, and what is known of it.

    samples: N rows, unusable ones already left out. steps: mask, log-probs and statistics that stay fixed through the
    round (None where the world gives no steps, as for reward models); predictions instead in a world with a probe.
    scores: the reward's channels, empty without a reward. pairs, rows, lists: from the source. round, step: rounds and
    updates done before. seed: the key of this round.
    """

    samples: Samples
    steps: Steps | None = None
    predictions: Predictions | None = None
    scores: Scores = field(default_factory=Scores)
    pairs: Pairs | None = None
    rows: Mapping[str, Tensor] = field(default_factory=dict)
    round: int = 0
    step: int = 0
    seed: Seed = field(default_factory=lambda: Seed(0))
    lists: Lists | None = None

    def __len__(self) -> int:
        return len(self.samples)

    def batch(
        self, advantages: Mapping[str, Tensor] | None = None, returns: Mapping[str, Tensor] | None = None
    ) -> Batch:
        """All of it as a Batch, with advantages and returns [N,T] where there are any; the column ``ROW`` numbers the
        rows."""
        steps = self.steps
        if steps is None and self.predictions is not None:
            steps = self.predictions.as_steps()
        device = torch.device("cpu") if steps is None else steps.mask.device
        return Batch(
            steps=steps,
            predictions=self.predictions,
            pairs=None if self.pairs is None else _moved_pairs(self.pairs, device),
            lists=None if self.lists is None else self.lists.to(device),
            rows={name: x.to(device) for name, x in self.rows.items()},
            advantages=advantages or {},
            returns=returns or {},
            scores=_moved_scores(self.scores, device) if len(self.scores) else None,
            columns={**self.samples.columns, ROW: torch.arange(len(self), device=device)},
        )


@dataclass(frozen=True)
class Estimator:
    """Credit, advantages and their combination: call: rollout -> batch (``Rollout.batch`` with advantages, returns).

    gives: paths of the batch it adds ('advantages.total'). needs: paths it reads from the rollout
    ('steps.logp.reference', 'steps.stats.value:total', 'scores').
    """

    name: str
    call: Callable[[Rollout], Batch]
    gives: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()

    def __call__(self, rollout: Rollout) -> Batch:
        return self.call(rollout)


@dataclass(frozen=True)
class Build:
    """From the round's batch to the batches of its updates, in order: call: (batch, rollout) -> batches.

    Every batch keeps the column ``ROW``. gives: paths it adds ('pairs'). updates: how many it makes a round at most
    (learning-rate schedules count with it; 1 also says that no update sees an older policy, so 'old' needs no forward
    pass of its own).
    """

    name: str
    call: Callable[[Batch, Rollout], Iterable[Batch]]
    gives: tuple[str, ...] = ()
    updates: int = 1

    def __call__(self, batch: Batch, rollout: Rollout) -> Iterable[Batch]:
        return self.call(batch, rollout)


@dataclass(frozen=True)
class Micro:
    """Size of one forward pass: at most about ``rows`` rows, or ``tokens`` cells of [N,T]. Results cannot depend on
    it."""

    rows: int | None = None
    tokens: int | None = None

    def __post_init__(self) -> None:
        for name in ("rows", "tokens"):
            x = getattr(self, name)
            if x is not None and x < 1:
                raise GuerdonError(f"Micro.{name} must be at least 1, but {x} came.")

    def parts(self, rows: int, steps: int = 1) -> int:
        """Into how many parts a batch of ``rows`` rows of ``steps`` steps is cut, at least 1."""
        by_rows = 1 if self.rows is None else -(-rows // self.rows)
        by_tokens = 1 if self.tokens is None else -(-rows * steps // self.tokens)
        return max(1, by_rows, by_tokens)


@dataclass
class Round:
    """What companions and evaluations may look at: the recipe, the counters after the round, and what the round made.

    ``rollout`` and ``batch`` are None before the round. ``metrics`` is the round's record so far; hooks return what
    they add.
    """

    recipe: "Recipe"
    round: int
    step: int
    rollout: Rollout | None = None
    batch: Batch | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)

    @property
    def snapshots(self) -> Actors:
        """The policies of the run."""
        return self.recipe.snapshots


@dataclass(frozen=True)
class Every:
    """An evaluation: ``call`` after every ``rounds`` rounds and after the last one; what it returns joins the round's
    metrics.

    It must draw from its own seeds and leave the policy as it was.
    """

    rounds: int
    call: Callable[[Round], Mapping[str, float]]
    name: str = "eval"

    def __post_init__(self) -> None:
        if self.rounds < 1:
            raise GuerdonError(f"Every.rounds must be at least 1, but {self.rounds} came.")


def _moved_pairs(pairs: Pairs, device: torch.device) -> Pairs:
    rest = [None if x is None else x.to(device) for x in (pairs.preferred, pairs.margin, pairs.weight)]
    return Pairs(pairs.winner.to(device), pairs.loser.to(device), *rest)


def _moved_scores(scores: Scores, device: torch.device) -> Scores:
    def moved(c: Channel) -> Channel:
        status, spread = (None if x is None else x.to(device) for x in (c.status, c.spread))
        return Channel(c.value.to(device), status, spread, c.note)

    return Scores({name: moved(c) for name, c in scores.channels.items()})


def plain() -> Estimator:
    """No advantages: the rollout as a batch (pairs, SFT, RAFT)."""
    return Estimator("plain", lambda rollout: rollout.batch())


def _whole() -> Build:
    return Build("whole", lambda batch, rollout: (batch,))


@dataclass(frozen=True)
class Recipe:
    """Everything a run is: data in, composition, seeds. It is never changed; what changes is in the snapshots and
    checkpoints.

    world: samples and re-scores. snapshots: the policy and its named copies. source: prompts, or recorded rows (then
    nothing is sampled). objective: an Objective, or a function of the number of updates done. rounds: how many rounds
    in all. reward: scores the samples, or None. sampling, per_start, hooks: how the world draws. beside: snapshot ->
    further rows a start that it draws ({'reference': 1} in XPO); they are named rows of the batch, 'rows.reference'.
    greedy: also draw and score the greedy response of every start; its reward reaches estimators as the column
    'greedy_reward' (ReMax).
    estimator: credit and advantages. build: the batches of the updates. companions: what learns beside the policy.
    micro: size of a forward pass. evals: evaluations. anchors: per prompt, responses kept to compare with. track:
    further paths ('steps.logp.reference', 'steps.stats.entropy') to compute for metrics and companions. probe:
    (samples, seed) -> the probe shared by all names (forward-process diffusion); a row's probe depends on the seed and
    the column ``ROW`` alone. modules: further modules the optimiser trains (value heads). combine: at the
    *gradient* stage: every term of the objective is a channel by its name, and their gradients are combined before
    clipping. note: anything that belongs to the identity of the run (a configuration): a checkpoint with another note
    is refused.
    """

    world: World
    snapshots: Actors
    source: Source
    objective: Objective | Callable[[int], Objective]
    optim: Optim = field(default_factory=Optim)
    rounds: int = 100
    seed: Seed = field(default_factory=lambda: Seed(0))
    reward: Reward | None = None
    sampling: Sampling = field(default_factory=Sampling)
    per_start: int = 1
    beside: Mapping[str, int] = field(default_factory=dict)
    greedy: bool = False
    hooks: tuple[Hook, ...] = ()
    estimator: Estimator = field(default_factory=plain)
    build: Build = field(default_factory=_whole)
    companions: "tuple[Companion, ...]" = ()
    micro: Micro = field(default_factory=Micro)
    evals: tuple[Every, ...] = ()
    anchors: Samples | None = None
    track: tuple[str, ...] = ()
    probe: Callable[[Samples, Seed], Any] | None = None
    modules: Mapping[str, nn.Module] = field(default_factory=dict)
    combine: Combine | None = None
    note: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("rounds", "per_start"):
            if getattr(self, name) < 1:
                raise GuerdonError(f"Recipe.{name} must be at least 1, but {getattr(self, name)} came.")
        if self.beside and (self.greedy or self.source.recorded):
            raise GuerdonError("Recipe.beside draws further rows, so it wants prompts as source and no greedy rows.")
        names = [c.name for c in self.companions]
        if len(set(names)) != len(names):
            raise GuerdonError(f"Recipe.companions must have different names, but {names} came.")

    def objective_at(self, step: int) -> Objective:
        """The objective after ``step`` updates."""
        return self.objective if isinstance(self.objective, Objective) else self.objective(step)

    @property
    def updates(self) -> int:
        """Updates in all, at most."""
        return self.rounds * self.build.updates

    def with_(self, **changes: Any) -> "Recipe":
        """The same recipe with other fields."""
        return replace(self, **changes)
