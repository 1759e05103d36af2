"""ReMax: REINFORCE with the reward of the greedy response as baseline (card 192)."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from guerdon.advantages import Estimate, remax, rloo, spread
from guerdon.batch import Batch, Samples
from guerdon.catalogue.method import Method
from guerdon.lab.protocol import Claim, Experiment
from guerdon.lab.text_gold import TRAINING, language
from guerdon.lab.text_gold.pairs import Annotator
from guerdon.lab.text_gold.policy import SAMPLING
from guerdon.lab.text_gold.testbed import Bed, Condition, build
from guerdon.objectives import reinforce, sequence_sum
from guerdon.worlds import Sampling

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


def gradients(arm: str, bed: Bed, batches: int, generations: int) -> Tensor:
    """[batches,D]: policy gradients at the start policy from ``generations`` responses each, greedy ones counted."""
    world, snapshots = bed.fresh()
    # ReMax spends one generation a prompt on its baseline, RLOO draws two, the plain estimator spends all on samples.
    prompts, per = (generations, 1) if arm == "reinforce" else (generations // 2, 2 if arm == "rloo" else 1)
    out = []
    for b in range(batches):
        key = bed.seed.child("gradient", b)
        at = torch.randint(len(TRAINING), (prompts,), generator=key.torch()).tolist()
        starts = [TRAINING[i] for i in at]
        samples = world.sample(snapshots, starts, per, SAMPLING, key)
        greedy = torch.zeros(0)
        if arm == "remax":
            greedy = language.gold(language.rows_of(world.sample(snapshots, starts, 1, GREEDY, key)))
        steps = world.rescore(snapshots, samples, ("policy",))
        found = advantage(arm, samples, greedy).advantage
        gain = spread(found, steps.mask) if found.ndim == 1 else found
        loss = reinforce(reduction=sequence_sum()).loss(Batch(steps, advantages={"total": gain})).value
        parts = torch.autograd.grad(loss, list(snapshots.module.parameters()))
        out.append(torch.cat([g.reshape(-1) for g in parts]))
    return torch.stack(out)


def run_one(arm: str, config: Mapping[str, Any], seed: int, smoke: bool) -> Mapping[str, float]:
    """One seed of one arm: log10 of the gradient's total variance at equal generations, and the size of its mean."""
    small = Condition(Annotator(pairs=16), members=0, demonstrations=256, warm_up_steps=10)
    bed = build(seed, small if smoke else Condition(Annotator(pairs=16), members=0))
    found = gradients(arm, bed, 4 if smoke else 100, 16 if smoke else 64)
    variance = found.var(0).sum()
    # |mean|² overestimates the squared length of the true gradient by the variance of the mean.
    signal = (found.mean(0).square().sum() - variance / len(found)).clamp(min=0)
    return {"log10_variance": float(variance.log10()), "signal": float(signal), "variance": float(variance)}


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
                "Less gradient variance than REINFORCE without a baseline at equal generations (log10; "
                "0.15 is a factor of 1.4)"
            ),
        ),
        run=f"{__name__}:run_one",
        method="remax",
        sources=("guerdon.advantages.greedy", "guerdon.objectives.policy", "guerdon.lab.text_gold"),
        budget="100 gradients of 64 generations each at the warm-started policy; half of ReMax's are greedy",
    ),
    caveat="Variance at one policy, with the gold reward (mean about 1.5 of 4.4), not a training curve.",
)
