"""PAR: the reward model's own belief that a response beats a reference response (card 8)."""

from collections.abc import Mapping
from typing import Any

import torch

from guerdon.batch import Seed
from guerdon.catalogue.method import REPORTING, Method
from guerdon.lab.frontier import frontier_metrics
from guerdon.lab.protocol import Claim, Experiment
from guerdon.lab.text_gold import TRAINING
from guerdon.lab.text_gold.pairs import Annotator
from guerdon.lab.text_gold.policy import SAMPLING
from guerdon.lab.text_gold.proxy import Proxy
from guerdon.lab.text_gold.recipes import online
from guerdon.lab.text_gold.testbed import Bed, Condition, build, evaluate
from guerdon.rewards.interface import Reward
from guerdon.shaping import par, relative
from guerdon.training.run import run

KL_LIMIT = 8.0
REFERENCES = 10
COEFFICIENTS = {"raw": (0.03, 0.08, 0.2), "par": (0.006, 0.016, 0.04)}


def reward_of(arm: str, bed: Bed) -> Reward:
    """The proxy at its own scale, as fitted by Bradley-Terry; for 'par' its sigmoid against references of the start
    policy."""
    raw = Proxy(bed.proxy.models[:1], torch.zeros(1), torch.ones(1)).reward(0)
    if arm == "raw":
        return raw
    world, snapshots = bed.fresh()
    key: Seed = bed.seed.child("references")
    return relative(raw, world.sample(snapshots, TRAINING, REFERENCES, SAMPLING, key), par(k=1.0))


def run_one(arm: str, config: Mapping[str, Any], seed: int, smoke: bool) -> Mapping[str, float]:
    """One seed of one arm: RLOO on a hackable proxy, gold against KL over the KL coefficient."""
    if smoke:
        bed = build(seed, Condition(Annotator(pairs=64), demonstrations=256, warm_up_steps=10))
    else:
        bed = build(seed, Condition(Annotator(pairs=2000, flips=0.25)))
    rows, rounds = (48, 1) if smoke else (768, 80)
    world, snapshots = bed.fresh()
    reward, before = reward_of(arm, bed), evaluate(bed, world, snapshots, rows=rows)
    points = []
    for coefficient in COEFFICIENTS[arm]:
        recipe = online(bed, reward, coefficient, config["lr"], rounds, prompts=4 if smoke else 32)
        run(recipe)
        points.append(evaluate(bed, recipe.world, recipe.snapshots, rows=rows))
    found = frontier_metrics([(p["kl"], p["gold"]) for p in points], before["gold"], KL_LIMIT)
    each = {
        f"{k}@{c}": p[k]
        for c, p in zip(COEFFICIENTS[arm], points, strict=True)
        for k in ("kl", "gold", "proxy", "length")
    }
    return {**found, **each, "start": before["gold"]}


METHOD = Method(
    slug="par",
    card=8,
    title="Reward Shaping to Mitigate Reward Hacking in RLHF",
    paper="Fu et al. 2025, arXiv 2502.18770",
    family="online",
    essence=(
        "Average over references of σ(r − r_ref): bounded, steep early and flat late, a function of the centred reward."
    ),
    composition="relative(reward, references, par(k=1))",
    experiment=Experiment(
        slug="par",
        claim=Claim(
            kind="effect",
            metric="area",
            baseline="raw",
            smallest_effect=0.1,
            statement="More gold than the raw reward at equal KL (mean over KL up to 8 nats, in gold's units)",
        ),
        run=f"{__name__}:run_one",
        method="par",
        grid={"lr": (3e-4,)},
        reporting_seeds=REPORTING,
        sources=(
            "guerdon.advantages.group",
            "guerdon.shaping.anchored",
            "guerdon.shaping.relative",
            "guerdon.objectives.policy",
            "guerdon.objectives.terms",
            "guerdon.lab.text_gold",
            "guerdon.lab.frontier",
        ),
        budget="80 rounds of RLOO, 32 prompts x 4 samples; 3 KL coefficients for each arm",
    ),
    caveat=(
        "RLOO with one update a batch; the paper trains with PPO and a critic, where a bounded reward "
        "also steadies the critic."
    ),
)
