"""PPO as in *Unpacking DPO and PPO* (Ivison et al. 2024, 2406.09279): a fixed low score without an end."""

from dataclasses import replace

import torch
from torch import Tensor, nn

from guerdon.batch import Batch, Channel, Scores, Seed
from guerdon.errors import GuerdonError, NeedsError
from guerdon.objectives import Objective, clipped, value_loss
from guerdon.rewards.interface import Reward
from guerdon.training.builds import minibatches
from guerdon.training.estimators import generalised
from guerdon.training.optim import Optim
from guerdon.training.recipe import Estimator, Recipe, Rollout
from guerdon.training.sources import Prompts
from guerdon.worlds.interface import Sampling, World
from guerdon.worlds.snapshots import Actors

PENALTY = -10.0
"""Score of a response without end of sequence, instead of the reward model's."""


def eos_penalty(score: Tensor, terminated: Tensor, penalty: float = PENALTY) -> Tensor:
    """score [N] where the response ended by itself, ``penalty`` where it was cut off; terminated: bool [N]."""
    return torch.where(terminated, score, torch.full_like(score, penalty))


def with_eos_penalty(estimator: Estimator, penalty: float = PENALTY) -> Estimator:
    """The estimator, reading ``penalty`` in place of the score of every row that did not terminate, before anything
    else is done to it (a KL in the reward is kept). Rows whose reward is not OK stay out. Raises NeedsError where the
    samples do not say how they ended, GuerdonError for scores a step."""

    def call(rollout: Rollout) -> Batch:
        over = rollout.samples.terminated
        if over is None:
            raise NeedsError("The penalty for missing ends reads Samples.terminated, but these samples have none.")
        channels = {}
        for name, channel in rollout.scores.channels.items():
            if channel.value.ndim != 1:
                raise GuerdonError(f"The penalty for missing ends needs one score a row, but {name!r} has one a step.")
            value = eos_penalty(channel.value, over.to(channel.value.device), penalty)
            value = torch.where(channel.ok, value, channel.value)
            channels[name] = Channel(value, channel.status, channel.spread, channel.note)
        return estimator(replace(rollout, scores=Scores(channels)))

    return Estimator(f"eos_penalty({estimator.name})", call, estimator.gives, estimator.needs)


def unpacked_ppo(
    world: World,
    snapshots: Actors,
    prompts: Prompts,
    reward: Reward,
    value: nn.Module,
    *,
    rounds: int,
    kl: float = 0.05,
    clip: float = 0.2,
    value_weight: float = 0.1,
    parts: int = 8,
    lr: float = 1e-6,
    sampling: Sampling = Sampling(temperature=0.7),  # noqa: B008 - frozen
    seed: Seed = Seed(0),  # noqa: B008 - frozen
) -> Recipe:
    """Their PPO, separate policy and value nets, one response a prompt, one pass over each rollout batch.

    r_t = −κ(log π_old − log π_ref), plus at the last step the score, −10 where the response has no end; GAE with γ = 1,
    λ = 0.95, advantages whitened over live tokens; the clipped surrogate plus ``value_weight`` × ½·max of the squared
    and clipped squared errors. Of the defaults κ, clip, λ and the minibatches (512 / 64) are the paper's; the value
    coefficient and the temperature are read from the authors' code as it is quoted, not from the paper. value: the
    module behind the world's value head 'total'; it is trained at the same learning rate.
    """
    return Recipe(
        world,
        snapshots,
        prompts,
        unpacked_objective(clip, value_weight),
        Optim(lr=lr, kind="adam", schedule="constant"),
        rounds,
        seed,
        reward=reward,
        sampling=sampling,
        estimator=with_eos_penalty(generalised(gamma=1.0, lam=0.95, kl=kl, whiten=True)),
        build=minibatches(parts),
        modules={"value": value},
    )


def unpacked_objective(clip: float = 0.2, value_weight: float = 0.1) -> Objective:
    """The clipped surrogate and ``value_weight`` × the clipped value loss."""
    return clipped(clip) + value_weight * value_loss("total", clip=clip)
