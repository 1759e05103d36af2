"""Recipes of the best-known methods on any world, each a composition with its paper's settings; everything stays
replaceable.

Learning rates are for small models; models of billions of parameters want 5e-7 to 1e-6 (``Optim(lr=…)``).
"""

import math
from typing import Any

from guerdon import advantages, objectives
from guerdon.batch import Seed
from guerdon.errors import GuerdonError
from guerdon.rewards.interface import Reward
from guerdon.training.builds import minibatches, whole
from guerdon.training.estimators import by_row, greedy_baseline
from guerdon.training.optim import Optim
from guerdon.training.recipe import Recipe
from guerdon.training.sources import Prompts, Recorded
from guerdon.worlds.interface import Sampling, World
from guerdon.worlds.snapshots import Actors

OFFLINE = ("dpo", "ipo", "simpo")
ONLINE = ("rloo", "grpo", "remax")


def offline(
    method: str,
    world: World,
    snapshots: Actors,
    pairs: Recorded,
    *,
    beta: float | None = None,
    margin: float = 0.5,
    smoothing: float = 0.0,
    epochs: float = 1.0,
    optim: Optim | None = None,
    seed: Seed | None = None,
    **more: Any,
) -> Recipe:
    """Learning from recorded pairs by 'dpo' (β 0.1), 'ipo' (τ 0.1, summed log-ratios) or 'simpo' (β 2; ``margin`` is
    γ/β 0.5).

    The snapshots need a 'reference' except for 'simpo'. epochs: passes over the pairs; rounds are rounded up. more:
    further fields of the Recipe. Raises GuerdonError for another method.
    """
    match method:
        case "dpo":
            objective = objectives.dpo(0.1 if beta is None else beta, smoothing)
        case "ipo":
            objective = objectives.ipo_sum(0.1 if beta is None else beta)
        case "simpo":
            scale = 2.0 if beta is None else beta
            objective = objectives.simpo(scale, margin * scale, smoothing)
        case _:
            raise GuerdonError(f"The offline method must be one of {', '.join(OFFLINE)}, but {method!r} came.")
    rounds = max(1, math.ceil(epochs * len(pairs) / pairs.per_round))
    chosen = optim or Optim(lr=3e-4, warmup=min(10, rounds // 10))
    return Recipe(world, snapshots, pairs, objective, chosen, rounds, seed or Seed(0), **more)


def online(
    method: str,
    world: World,
    snapshots: Actors,
    prompts: Prompts,
    reward: Reward,
    *,
    rounds: int = 100,
    per_start: int | None = None,
    kl: float | None = None,
    sampling: Sampling | None = None,
    epochs: int = 1,
    parts: int = 1,
    optim: Optim | None = None,
    seed: Seed | None = None,
    **more: Any,
) -> Recipe:
    """Learning from a reward by 'rloo' (4 rows a prompt, KL 0.05 in the reward), 'grpo' (8 rows, clipped, KL 0.04 in
    the loss by k3; ``epochs`` × ``parts`` minibatches) or 'remax' (1 row against the greedy one, KL 0.05 in the step
    rewards).

    The snapshots need a 'reference' unless kl is 0. more: further fields of the Recipe. Raises GuerdonError for another
    method.
    """
    chosen = optim or Optim(lr=3e-4, kind="adam", betas=(0.9, 0.99), warmup=min(10, rounds // 10))
    drawn, seed = sampling or Sampling(), seed or Seed(0)
    shared: dict[str, Any] = {"reward": reward, "sampling": drawn, **more}
    match method:
        case "rloo":
            estimator = by_row(advantages.rloo, kl=0.05 if kl is None else kl)
            objective, rows, build = objectives.reinforce(), per_start or 4, whole()
        case "grpo":
            weight = 0.04 if kl is None else kl
            estimator = by_row(advantages.group_relative)
            objective, rows, build = objectives.clipped(), per_start or 8, minibatches(parts, epochs)
            objective = objective + weight * objectives.kl_penalty() if weight else objective
        case "remax":
            estimator = greedy_baseline(kl=0.05 if kl is None else kl)
            objective, rows, build = objectives.reinforce(), per_start or 1, whole()
            shared = {"greedy": True, **shared}
        case _:
            raise GuerdonError(f"The online method must be one of {', '.join(ONLINE)}, but {method!r} came.")
    return Recipe(
        world,
        snapshots,
        prompts,
        objective,
        chosen,
        rounds,
        seed,
        per_start=rows,
        estimator=estimator,
        build=build,
        **shared,
    )
