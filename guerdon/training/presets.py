"""Recipes of the named methods on any world; everything stays replaceable.

Learning rates are for small models; models of billions of parameters want 5e-7 to 1e-6 (``Optim(lr=…)``).
"""

import math
from dataclasses import fields
from typing import Any

from guerdon.batch import Seed
from guerdon.errors import GuerdonError
from guerdon.rewards.interface import Reward
from guerdon.training.methods import Preset, find
from guerdon.training.optim import Optim
from guerdon.training.recipe import Recipe
from guerdon.training.sources import Prompts, Source
from guerdon.worlds.interface import Sampling, World
from guerdon.worlds.snapshots import Actors


def offline(
    method: str,
    world: World,
    snapshots: Actors,
    source: Source,
    *,
    epochs: float = 1.0,
    optim: Optim | None = None,
    seed: Seed | None = None,
    **more: Any,
) -> Recipe:
    """Learning from recorded rows by any of ``methods.names(online=False)``.

    source: what the method reads (``Preset.reads``): ``Recorded`` with pairs or lists, or ``Unpaired``. The snapshots
    need the names of ``Preset.rules``, for most methods a 'reference'. epochs: passes over the source; rounds are
    rounded up. more: hyperparameters of the method (None: the paper's), and further fields of the Recipe. Raises
    GuerdonError for another method.
    """
    preset = find(method, online=False)
    hyper, rest = _parted(preset, more)
    size = getattr(source, "per_round", len(source))
    rounds = rest.pop("rounds", None) or max(1, math.ceil(epochs * len(source) / size))
    chosen = optim or Optim(lr=3e-4, warmup=min(10, rounds // 10))
    return preset.recipe(world, snapshots, source, rounds, hyper, optim=chosen, seed=seed or Seed(0), **rest)


def online(
    method: str,
    world: World,
    snapshots: Actors,
    prompts: Prompts,
    reward: Reward | None,
    *,
    rounds: int = 100,
    per_start: int | None = None,
    sampling: Sampling | None = None,
    optim: Optim | None = None,
    seed: Seed | None = None,
    **more: Any,
) -> Recipe:
    """Learning from samples and their reward by any of ``methods.names(online=True)``.

    per_start: responses a prompt (None: the method's own number). The snapshots need the names of ``Preset.rules``
    unless what reads them is switched off (kl 0). more: hyperparameters of the method (None: the paper's), and further
    fields of the Recipe. Raises GuerdonError for another method.
    """
    preset = find(method, online=True)
    hyper, rest = _parted(preset, more)
    chosen = optim or Optim(lr=3e-4, kind="adam", betas=(0.9, 0.99), warmup=min(10, rounds // 10))
    rows = {} if per_start is None else {"per_start": per_start}
    shared = {"optim": chosen, "seed": seed or Seed(0), "reward": reward, "sampling": sampling or Sampling()}
    return preset.recipe(world, snapshots, prompts, rounds, hyper, **shared, **rows, **rest)


def _parted(preset: Preset, more: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """(hyperparameters of the method, fields of the Recipe). Raises GuerdonError for what is neither."""
    known, recipe = preset.hyper(), {f.name for f in fields(Recipe)}
    for name in more:
        if name not in known and name not in recipe:
            raise GuerdonError(
                f"The method {preset.name} has no hyperparameter {name!r}; it has {', '.join(known) or 'none'}."
            )
    return {k: v for k, v in more.items() if k in known}, {k: v for k, v in more.items() if k not in known}
