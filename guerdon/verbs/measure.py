"""What an alignment run measures before and after: reward, distance, length, diversity, and the pairs it orders
rightly."""

from collections.abc import Mapping
from typing import Any

import torch

from guerdon import reduce
from guerdon.batch import Samples
from guerdon.rewards import Context, Reward
from guerdon.training import Recorded
from guerdon.worlds import Snapshots
from guerdon.worlds.text import TextWorld

PROMPTS = 64
"""Records looked at: enough to see a change, few enough to be quick."""


@torch.no_grad()
def of_samples(
    world: TextWorld, snapshots: Snapshots, samples: Samples, reward: Reward | None = None, start: str = "reference"
) -> dict[str, float]:
    """reward (mean over valid rows), KL to the snapshot ``start`` (nats a response, exact over the vocabulary at the
    sampled steps), length (tokens), different responses (share), cut off (share that reached the limit)."""
    steps = world.rescore(snapshots, samples, ("policy",), (f"kl:{start}",))
    found: dict[str, float] = {}
    if reward is not None:
        scores, _ = reward.score(samples, reward.init(), Context(training=False))
        channel = scores.only()
        count = int(channel.ok.sum())
        found["reward"] = float(channel.filled().sum()) / count if count else float("nan")
    texts = samples.texts()
    found["KL to the start (nats a response)"] = float(reduce.total(steps.stat(f"kl:{start}"), steps.mask).mean())
    found["length (tokens)"] = float(steps.mask.sum(-1).float().mean())
    found["different responses (share)"] = len(set(texts)) / len(texts)
    if samples.truncated is not None:
        found["cut off at the limit (share)"] = float(samples.truncated.float().mean())
    return found


@torch.no_grad()
def pair_accuracy(world: TextWorld, snapshots: Snapshots, recorded: Recorded, mean_logprob: bool) -> float:
    """Share of comparisons whose preferred side has the higher log-ratio to the reference, or the higher mean
    log-probability; ties count ½ (at the start all log-ratios are 0, so that it is ½)."""
    assert recorded.pairs is not None
    names = ("policy",) if mean_logprob else ("policy", "reference")
    steps = world.rescore(snapshots, recorded.samples, names)
    score = (
        reduce.average(steps.logprob("policy"), steps.mask)
        if mean_logprob
        else reduce.total(steps.log_ratio(), steps.mask)
    )
    gap = score[recorded.pairs.winner] - score[recorded.pairs.loser]
    return float(((gap > 0).float() + 0.5 * (gap == 0).float()).mean())


def summary(method: str, before: Mapping[str, float], after: Mapping[str, float], held_out: bool) -> dict[str, Any]:
    """What ``summary.json`` holds, with one sentence computed from the numbers."""
    where = "prompts held out from training" if held_out else "training prompts (too few records to hold some out)"
    kl, length = "KL to the start (nats a response)", "length (tokens)"
    said = [f"After {method} the policy is {after[kl]:.2f} nats a response from its start"]
    if "reward" in after:
        said.append(f"its reward went from {before['reward']:.3f} to {after['reward']:.3f}")
    if "pairs ordered rightly" in after:
        said.append(f"it orders {100 * after['pairs ordered rightly']:.0f} % of the pairs rightly")
    said.append(f"responses went from {before[length]:.1f} to {after[length]:.1f} tokens")
    warn = ""
    if after["different responses (share)"] < 0.5 * before["different responses (share)"]:
        warn = " Diversity more than halved: read the samples before trusting the reward."
    return {
        "method": method,
        "before": dict(before),
        "after": dict(after),
        "measured": f"Measured on {where}, up to {PROMPTS} of them, with the same seeds before and after.",
        "finding": "; ".join(said) + "." + warn,
    }
