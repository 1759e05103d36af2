"""THE loop: source → [sample] → score → credit → advantage → combine → build → update → refresh snapshots."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from guerdon.batch import Pairs, Samples, Scores
from guerdon.errors import GuerdonError, RewardError
from guerdon.rewards.interface import Context, State
from guerdon.training import checkpoints, distributed, evidence
from guerdon.training.metrics import Clock, Progress, Writer, history_of, jsonl, of_rollout
from guerdon.training.optim import load_moments, moments
from guerdon.training.recipe import Recipe, Rollout, Round
from guerdon.training.sources import Draw
from guerdon.training.update import update
from guerdon.worlds.snapshots import Actors, Snapshots


@dataclass(frozen=True)
class RunResult:
    """history: one record a round, resumed rounds included. snapshots: the trained policy and its copies. state: the reward's state.
    rounds, steps: rounds and updates done. stopped: the companion that ended the run early, or None."""

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

    out: a folder for ``metrics.jsonl`` and ``checkpoints/`` (every ``save_every`` rounds and at the end, the newest ``keep`` kept);
    None writes nothing. resume: continue from the newest whole checkpoint in ``out``, to weights identical to those of an
    uninterrupted run (deterministic rewards, same machine and thread count). on_metrics: called after every round with its
    metrics, rate and time left. writers: further places for metrics (``metrics.Trackers``).

    Rows with a FAILED reward, or without one valid channel, are left out and counted. Raises NeedsError before any forward pass
    where the recipe cannot give what its parts read, RewardError where the reward raises or every row failed, GuerdonError where
    the gradient is not finite or ``out`` holds another recipe's checkpoint; what was saved before stays as it was.
    """
    raise NotImplementedError
