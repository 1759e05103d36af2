"""ReMax: REINFORCE with the reward of the greedy response as baseline (card 192)."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from guerdon.advantages import Estimate, remax, rloo, spread
from guerdon.batch import Batch, Samples
from guerdon.catalogue.method import REPORTING, Method
from guerdon.lab.protocol import Claim, Experiment
from guerdon.lab.text_gold import TRAINING, gold_reward, language
from guerdon.lab.text_gold.pairs import Annotator
from guerdon.lab.text_gold.policy import SAMPLING
from guerdon.lab.text_gold.recipes import online
from guerdon.lab.text_gold.testbed import Bed, Condition, build
from guerdon.objectives import reinforce, sequence_sum
from guerdon.training.run import run
from guerdon.worlds import Sampling, Snapshots, only

GREEDY = Sampling(greedy=True, limit=SAMPLING.limit)


def advantage(arm: str, samples: Samples, greedy: Tensor) -> Estimate:
    """Advantages [N] or [N,T] of one arm from the gold reward; greedy: reward of the greedy response to each row's
    prompt."""
    rows = language.rows_of(samples)
    reward = language.gold(rows)
    if arm == "remax":
        return remax(reward, greedy, rows.response)
    if arm == "rloo":
        return rloo(reward, samples.partition("prompt"))
    return Estimate(reward, torch.ones_like(reward, dtype=torch.bool))


def gradients(arm: str, bed: Bed, policy: Snapshots, batches: int, responses: int) -> Tensor:
    """[batches,D]: gradients at a policy from ``responses`` sampled responses each; ReMax's greedy ones come on top."""
    world, _ = bed.fresh()
    prompts, per = (responses // 2, 2) if arm == "rloo" else (responses, 1)
    out = []
    for b in range(batches):
        key = bed.seed.child("gradient", b)
        at = torch.randint(len(TRAINING), (prompts,), generator=key.torch()).tolist()
        starts = [TRAINING[i] for i in at]
        samples = world.sample(policy, starts, per, SAMPLING, key)
        greedy = torch.zeros(0)
        if arm == "remax":
            greedy = language.gold(language.rows_of(world.sample(policy, starts, 1, GREEDY, key)))
        steps = world.rescore(policy, samples, ("policy",))
        found = advantage(arm, samples, greedy).advantage
        gain = spread(found, steps.mask) if found.ndim == 1 else found
        loss = reinforce(reduction=sequence_sum()).loss(Batch(steps, advantages={"total": gain})).value
        parts = torch.autograd.grad(loss, list(policy.module.parameters()))
        out.append(torch.cat([g.reshape(-1) for g in parts]))
    return torch.stack(out)


def run_one(arm: str, config: Mapping[str, Any], seed: int, smoke: bool) -> Mapping[str, float]:
    """One seed of one arm: log10 of the gradient's total variance, at the start policy and at one trained on gold for
    40 rounds by RLOO; 'log10_variance' is the mean of the two. The variance of a mean falls as 1/n, so that at equal
    generations ReMax, which draws two a sample, pays log10 2 more: 'log10_variance_per_generation'."""
    small = Condition(Annotator(pairs=16), members=0, demonstrations=256, warm_up_steps=10)
    bed = build(seed, small if smoke else Condition(Annotator(pairs=16), members=0))
    batches, responses = (2, 8) if smoke else (100, 64)
    trained = online(bed, gold_reward(), 0.0, 3e-4, 1 if smoke else 40, prompts=2 if smoke else 32)
    run(trained)
    policies = {"start": bed.fresh()[1], "trained": only(trained.snapshots)}
    out = {}
    for name, policy in policies.items():
        for method in (arm, "rloo") if arm == "remax" else (arm,):
            out[f"{method}@{name}"] = float(gradients(method, bed, policy, batches, responses).var(0).sum().log10())
    found = sum(out[f"{arm}@{name}"] for name in policies) / len(policies)
    cost = math.log10(2) if arm == "remax" else 0.0
    return {"log10_variance": found, "log10_variance_per_generation": found + cost, **out}


METHOD = Method(
    slug="remax",
    card=192,
    title="ReMax: A Simple, Effective, and Efficient Reinforcement Learning Method for Aligning Large Language Models",
    paper="Li et al. 2023, arXiv 2310.10505",
    family="online",
    essence=(
        "The greedy response's reward is a baseline that does not depend on the sample, so the estimate "
        "is unbiased without a critic."
    ),
    composition="remax(reward, greedy_reward, mask); reinforce()",
    experiment=Experiment(
        slug="remax",
        claim=Claim(
            kind="effect",
            metric="log10_variance",
            direction="lower",
            baseline="reinforce",
            smallest_effect=0.15,
            statement=(
                "Less gradient variance than REINFORCE without a baseline at equal sampled responses (log10; 0.15 is a "
                "factor of 1.4)"
            ),
        ),
        run=f"{__name__}:run_one",
        method="remax",
        reporting_seeds=REPORTING,
        sources=("guerdon.advantages.greedy", "guerdon.objectives.policy", "guerdon.lab.text_gold"),
        budget="100 gradients of 64 sampled responses at each of two policies",
    ),
    caveat=(
        "Variance with the gold reward, not a training curve. The greedy response is a generation too: at equal "
        "generations log10 2 = 0.30 is paid back. RLOO's variance is stored beside it. The two policies and "
        "the equal responses were settled after a pilot on tuning seed 1000."
    ),
)
