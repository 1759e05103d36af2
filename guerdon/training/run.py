"""THE loop: source → [sample] → score → credit → advantage → combine → build → update → refresh snapshots."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from guerdon.batch import Predictions, Samples, Scores, Seed, Steps
from guerdon.errors import GuerdonError, RewardError
from guerdon.rewards.interface import Context, State
from guerdon.training import checkpoints, distributed, evidence
from guerdon.training.drawing import drawn, drawn_beside, own_rows
from guerdon.training.estimators import checked
from guerdon.training.identity import actors, fingerprint, trainable
from guerdon.training.metrics import Clock, Progress, Writer, history_of, jsonl, of_rollout
from guerdon.training.optim import load_moments, moments
from guerdon.training.recipe import ROW, Recipe, Rollout, Round
from guerdon.training.sources import Draw
from guerdon.training.update import update
from guerdon.training.usable import unusable, without
from guerdon.worlds.snapshots import Actors


@dataclass(frozen=True)
class RunResult:
    """history: one record a round, resumed rounds included. snapshots: the trained policy and its copies. state: the
    reward's state. rounds, steps: rounds and updates done. stopped: the companion that ended the run early, or None."""

    history: Sequence[Mapping[str, float]]
    snapshots: Actors
    state: State = field(default_factory=dict)
    rounds: int = 0
    steps: int = 0
    stopped: str | None = None


def run(
    recipe: Recipe,
    out: str | Path | None = None,
    *,
    resume: bool = True,
    save_every: int = 10,
    keep: int = 2,
    on_metrics: Callable[[Progress], None] | None = None,
    writers: Sequence[Writer] = (),
) -> RunResult:
    """Carry out a recipe; the live policy in ``recipe.snapshots`` is trained in place.

    out: a folder for ``metrics.jsonl`` and ``checkpoints/`` (every ``save_every`` rounds and at the end, the newest
    ``keep`` kept); None writes nothing. resume: continue from the newest whole checkpoint in ``out``, to weights
    identical to those of an uninterrupted run (deterministic rewards, same machine and thread count). on_metrics:
    called after every round with its metrics, rate and time left. writers: further places for metrics
    (``metrics.Trackers``). Of several ranks the first one alone samples, scores, evaluates, writes and calls back.

    Rows with a FAILED reward, or without one valid channel, are left out and counted. Raises NeedsError before any
    forward pass where the recipe cannot give what its parts read, RewardError where the reward raises or every row
    failed, GuerdonError where the gradient is not finite or ``out`` holds another recipe's checkpoint; what was saved
    before stays as it was.
    """
    distributed.check_joined()
    if any(torch.is_autocast_enabled(kind) for kind in ("cpu", "cuda")):
        raise GuerdonError(
            "run was called under torch.autocast, which keeps half copies of the weights through all updates: later "
            "rounds would read old weights. Give the world compute=torch.bfloat16 instead."
        )
    evidence.refuse_early(recipe, recipe.objective_at(0))
    loop = _Loop(recipe)
    folder = None if out is None else Path(out)
    if folder is not None and (newest := checkpoints.latest(folder / "checkpoints")) is not None:
        if not resume:
            raise GuerdonError(f"{folder} already holds a run; name another folder, or resume it.")
        loop.load_state_dict(checkpoints.load(newest), newest)
    distributed.check_same(loop.named)
    past = [] if folder is None else [m for m in history_of(folder / "metrics.jsonl") if m["round"] <= loop.round]
    first = distributed.rank() == 0
    distributed.wait()  # every rank has read before the first one writes
    places = [*jsonl(folder, loop.round), *writers] if first else []
    clock = Clock(recipe.rounds)
    try:
        while not loop.over():
            metrics = loop.advance()
            past.append(metrics)
            due = folder is not None and (loop.over() or loop.round % save_every == 0)
            distributed.once(partial(_store, loop, metrics, places, folder if due else None, keep))
            if on_metrics is not None and first:
                on_metrics(clock.tick(loop.round, metrics))
    finally:
        for place in places:
            place.close()
    return RunResult(past, recipe.snapshots, loop.reward_state, loop.round, loop.step, loop.stopped())


def _store(
    loop: "_Loop", metrics: Mapping[str, float], places: Sequence[Writer], folder: Path | None, keep: int
) -> None:
    """Write a round's metrics, and a checkpoint where there is a folder."""
    for place in places:
        place.write(loop.round, metrics)
    if folder is not None:
        checkpoints.save(folder / "checkpoints", loop.round, loop.state_dict(), keep)


class _Loop:
    """What changes during a run: counters, optimiser, the reward's state. ``advance`` is one round."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self.round = self.step = self.position = 0
        self.named = trainable(recipe)
        self.parameters = list(self.named.values())
        self.optimiser = recipe.optim.make(self.parameters)
        self.reward_state: State = {} if recipe.reward is None else recipe.reward.init()
        self.cache = evidence.Cache()

    def stopped(self) -> str | None:
        """Name of the first companion that wants the run to end."""
        return next((c.name for c in self.recipe.companions if c.stop), None)

    def over(self) -> bool:
        """Whether no round is left."""
        return self.round >= self.recipe.rounds or self.stopped() is not None

    def advance(self) -> dict[str, float]:
        """One round; its metrics."""
        recipe = self.recipe
        for companion in recipe.companions:
            companion.before_round(Round(recipe, self.round, self.step))
        draw = recipe.source.draw(self.position)
        rollout, measured = self._rollout(draw, recipe.seed.child("round", self.round))
        batch = checked(recipe.estimator, recipe.estimator(rollout))
        measured.update(self._updates(batch, rollout))
        self.round, self.position = self.round + 1, draw.position
        metrics = {"round": self.round, "step": self.step, "epoch": self.position / len(recipe.source), **measured}
        here = Round(recipe, self.round, self.step, rollout, batch, metrics)
        for every in recipe.evals:
            if self.round % every.rounds == 0 or self.round == recipe.rounds:
                found = distributed.once(partial(every.call, here))
                metrics.update({f"{every.name}/{k}": v for k, v in found.items()})
        for companion in recipe.companions:
            metrics.update(companion.after_round(here))
        return metrics

    def _rollout(self, draw: Draw, seed: Seed) -> tuple[Rollout, dict[str, float]]:
        """Sample or read, score, leave out unusable rows, re-score what stays fixed through the round."""
        recipe = self.recipe
        samples, scores, self.reward_state = distributed.once(lambda: self._scored(draw, seed))
        failed, absent = unusable(scores, len(samples))
        own = own_rows(recipe, samples)
        seen = (samples, scores) if own is None else (samples.take(own), scores.take(own))
        measured = of_rollout(*seen, *((failed, absent) if own is None else (failed[own], absent[own])))
        rows = {**draw.rows, **drawn_beside(recipe, samples)}
        rollout = Rollout(samples, None, None, scores, draw.pairs, rows, self.round, self.step, seed, draw.lists)
        keep = ~(failed | absent)
        if not bool(keep.any()):
            raise RewardError(
                f"Every row of round {self.round + 1} is without a usable reward ({int(failed.sum())} failed, "
                f"{int(absent.sum())} not applicable); look at the reward {getattr(recipe.reward, 'name', '')!r}."
            )
        if not bool(keep.all()):
            rollout = without(rollout, keep)
        samples = rollout.samples.with_columns(**{ROW: list(range(len(rollout)))})
        ids = draw.ids[keep] if draw.ids is not None else None
        paths = evidence.fixed_paths(recipe, recipe.objective_at(self.step))
        found = evidence.fixed(recipe, samples, paths, self.cache, ids, seed.child("probe"))
        if isinstance(found, Predictions):
            return replace(rollout, samples=samples, predictions=found), measured
        if isinstance(found, Steps):
            stats = {k: v for c in recipe.companions if c.provides for k, v in c.evidence(samples, found).items()}
            found = replace(found, stats={**found.stats, **stats})
        return replace(rollout, samples=samples, steps=found), measured

    def _scored(self, draw: Draw, seed: Seed) -> tuple[Samples, Scores, State]:
        """The round's rows, their scores and the reward's next state."""
        recipe = self.recipe
        samples = draw.samples
        if samples is None:
            samples = drawn(recipe, draw, seed)
        if recipe.reward is None:
            return samples, Scores(), self.reward_state
        if recipe.greedy:
            samples = samples.with_columns(greedy_reward=self._greedy(draw, seed))
        return samples, *self._ask(samples, seed, training=True)

    def _ask(self, samples: Samples, seed: Seed, training: bool) -> tuple[Scores, State]:
        assert self.recipe.reward is not None
        context = Context(self.round, self.step, seed.child("reward"), training, self.recipe.anchors)
        try:
            with torch.no_grad():
                return self.recipe.reward.score(samples, self.reward_state, context)
        except Exception as error:
            raise RewardError(
                f"The reward {self.recipe.reward.name!r} raised in round {self.round + 1} "
                f"({type(error).__name__}: {error}); what was saved before is intact."
            ) from error

    def _greedy(self, draw: Draw, seed: Seed) -> list[float | None]:
        """Reward of every start's greedy rows, repeated for its samples; None where it is not valid."""
        recipe = self.recipe
        sampling = replace(recipe.sampling, greedy=True)
        greedy = recipe.world.sample(recipe.snapshots, draw.starts, 1, sampling, seed.child("greedy"), recipe.hooks)
        rows = len(greedy) // max(1, len(draw.starts))
        columns = {k: [v for v in x for _ in range(rows)] for k, x in draw.columns.items()}
        channel = self._ask(greedy.with_columns(**columns), seed, training=False)[0].only()
        values = [float(v) if ok else None for v, ok in zip(channel.value.tolist(), channel.ok.tolist(), strict=True)]
        own = [values[i : i + rows] for i in range(0, len(values), rows)]
        return [v for start in own for _ in range(recipe.per_start) for v in start]

    def _updates(self, batch: Any, rollout: Rollout) -> dict[str, float]:
        """Build and take the round's updates; metrics are means over them."""
        recipe = self.recipe
        taken: list[Mapping[str, float]] = []
        skipped = 0
        for part in recipe.build(batch, rollout):
            objective = recipe.objective_at(self.step)
            got = update(
                recipe,
                objective,
                part,
                rollout.samples,
                self.optimiser,
                self.parameters,
                self.step,
                rollout.seed.child("probe"),
            )
            if got is None:
                skipped += 1
                continue
            taken.append(got)
            self.step += 1
            for actor in actors(recipe.snapshots).values():
                actor.refresh(self.step)
        if not taken and self.round == 0:
            warnings.warn(
                "The first round had nothing to learn from: no pair, or no row with peers (per_start 1?).",
                stacklevel=2,
            )
        names = dict.fromkeys(k for m in taken for k in m)
        means = {k: sum(m[k] for m in taken if k in m) / sum(k in m for m in taken) for k in names}
        return {**means, "updates": len(taken), "updates_skipped": skipped}

    def state_dict(self) -> dict[str, Any]:
        """All that a resumed run needs, to the bit."""
        recipe = self.recipe
        return {
            "round": self.round,
            "step": self.step,
            "position": self.position,
            "fingerprint": fingerprint(recipe),
            "versions": {"torch": torch.__version__, "threads": torch.get_num_threads()},
            "parameters": self.named,
            "buffers": {
                f"{name}:{k}": b for name, s in actors(recipe.snapshots).items() for k, b in s.module.named_buffers()
            },
            "snapshots": {name: s.state_dict() for name, s in actors(recipe.snapshots).items()},
            "moments": moments(self.optimiser, self.named),
            "reward": self.reward_state,
            "companions": {c.name: c.state_dict() for c in recipe.companions},
        }

    def load_state_dict(self, state: Mapping[str, Any], at: Path) -> None:
        """Take up a checkpoint. Raises GuerdonError where another recipe made it."""
        recipe = self.recipe
        if state["fingerprint"] != fingerprint(recipe):
            raise GuerdonError(
                f"The checkpoint {at} was made by another recipe; name another folder, or use that recipe."
            )
        self.round, self.step, self.position = state["round"], state["step"], state["position"]
        with torch.no_grad():
            for name, p in self.named.items():
                p.copy_(state["parameters"][name])
            for name, s in actors(recipe.snapshots).items():
                for k, b in s.module.named_buffers():
                    b.copy_(state["buffers"][f"{name}:{k}"])
                s.load_state_dict(state["snapshots"][name])
        load_moments(self.optimiser, self.named, state["moments"])
        self.reward_state = state["reward"]
        for c in recipe.companions:
            c.load_state_dict(state["companions"][c.name])
