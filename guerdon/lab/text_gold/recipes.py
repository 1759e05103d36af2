"""The tuned baselines of text/gold as recipes for ``training.run``: supervised, DPO, RLOO."""

import torch

from guerdon import reduce
from guerdon.advantages import rloo, spread
from guerdon.audit.best_of_n import best_of_n as expected_best
from guerdon.batch import Batch, Seed
from guerdon.lab.text_gold import language as words
from guerdon.lab.text_gold.policy import SAMPLING
from guerdon.lab.text_gold.testbed import Bed
from guerdon.objectives import Objective, dpo, reinforce, sft
from guerdon.rewards.interface import Reward
from guerdon.training.optim import Optim
from guerdon.training.recipe import Estimator, Recipe, Rollout
from guerdon.training.sources import Prompts, Recorded


def offline(
    bed: Bed, objective: Objective, lr: float = 3e-4, epochs: float = 3, pairs_at_once: int = 64, key: str = "offline"
) -> Recipe:
    """Any objective on pairs, over the testbed's own pairs: AdamW without decay, 10 warm-up steps, clip 1.

    ``key`` names the order in which pairs are visited; nothing else is drawn.
    """
    world, snapshots = bed.fresh()
    source = Recorded(bed.pairs.samples, pairs_at_once, bed.pairs.pairs, seed=bed.seed.child(key))
    rounds = max(1, round(epochs * len(source) / pairs_at_once))
    return Recipe(world, snapshots, source, objective, Optim(lr=lr, warmup=10), rounds, bed.seed.child(key))


def preference(bed: Bed, beta: float = 0.1, lr: float = 3e-4, epochs: float = 3, key: str = "dpo") -> Recipe:
    """DPO against the start policy."""
    return offline(bed, dpo(beta), lr, epochs, key=key)


def supervised(bed: Bed, lr: float = 3e-4, epochs: float = 3, key: str = "sft") -> Recipe:
    """Further supervised training on the chosen side of the same pairs."""
    return offline(bed, sft("winner"), lr, epochs, key=key)


def leave_one_out(kl: float) -> Estimator:
    """RLOO advantages of the reward minus ``kl`` × the response's sampled log-ratio to the reference (nats)."""

    def call(rollout: Rollout) -> Batch:
        if rollout.steps is None:
            raise RuntimeError("a text world always gives steps")
        channel = rollout.scores.only()
        reward, ok = channel.filled(), channel.ok
        if kl:
            reward = reward - kl * reduce.total(rollout.steps.log_ratio("sampler", "reference"), rollout.steps.mask)
        estimate = rloo(reward, rollout.samples.partition("prompt"), ok)
        return rollout.batch({"total": spread(estimate.advantage, rollout.steps.mask)})

    needs = ("scores", *(("steps.logp.sampler", "steps.logp.reference") if kl else ()))
    return Estimator(f"rloo(kl={kl:g})", call, ("advantages.total",), needs)


def online(
    bed: Bed,
    reward: Reward,
    kl: float = 0.05,
    lr: float = 3e-4,
    rounds: int = 80,
    prompts: int = 32,
    per_prompt: int = 4,
    key: str = "rloo",
) -> Recipe:
    """RLOO on a reward: Adam with β₂ 0.99, 10 warm-up steps, clip 1, one update a batch of 32 prompts × 4."""
    world, snapshots = bed.fresh()
    seed: Seed = bed.seed.child(key)
    return Recipe(
        world,
        snapshots,
        Prompts(words.TRAINING, prompts, seed.child("prompts")),
        reinforce(),
        Optim(lr=lr, kind="adam", betas=(0.9, 0.99), warmup=10),
        rounds,
        seed,
        reward=reward,
        sampling=SAMPLING,
        per_start=per_prompt,
        estimator=leave_one_out(kl),
    )


@torch.no_grad()
def best_of_n(bed: Bed, ns: tuple[int, ...], rows: int = 256, member: int | None = 0) -> dict[int, tuple[float, float]]:
    """n -> (gold, proxy) of the best of n start-policy samples by a proxy (``member``, or the mean of all: None).

    The unbiased estimate over all subsets of ``rows`` samples a held-out prompt (``audit.best_of_n.best_of_n``).
    """
    world, snapshots = bed.fresh()
    samples = world.sample(snapshots, words.HELD_OUT, rows, SAMPLING, bed.seed.child("best_of_n"))
    drawn = words.rows_of(samples)
    every = bed.proxy(drawn)
    proxy = (every.mean(1) if member is None else every[:, member]).reshape(-1, rows)
    gold = words.gold(drawn).reshape(-1, rows)
    by_gold, by_proxy = expected_best(proxy, gold, ns), expected_best(proxy, proxy, ns)
    return {n: (float(by_gold[n].mean()), float(by_proxy[n].mean())) for n in ns}
