"""Reward-model ensembles with conservative aggregation: worst case and uncertainty-weighted (card 14)."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from guerdon.audit.best_of_n import best_of_n
from guerdon.catalogue.method import REPORTING, Method
from guerdon.lab.protocol import Claim, Experiment
from guerdon.lab.text_gold import HELD_OUT, language
from guerdon.lab.text_gold.pairs import Annotator
from guerdon.lab.text_gold.policy import SAMPLING
from guerdon.lab.text_gold.testbed import Condition, build
from guerdon.rewards.interface import Combine
from guerdon.shaping import mean, minimum, uncertainty_weighted

MEMBERS, N = 5, 256
AGGREGATES: dict[str, Combine] = {"wco": minimum(), "uwo": uncertainty_weighted(0.5), "mean": mean()}


def curve(arm: str, proxy: Tensor, gold: Tensor, ns: tuple[int, ...]) -> dict[int, float]:
    """n -> expected gold of the best of n by an arm; proxy [X,M,K], gold [X,M]. 'single' is the mean over members used
    alone."""
    if arm == "single":
        members = [best_of_n(proxy[..., k], gold, ns) for k in range(proxy.shape[-1])]
        return {n: sum(float(m[n].mean()) for m in members) / len(members) for n in ns}
    values = proxy.movedim(-1, 0)
    names = tuple(f"member/{k}" for k in range(len(values)))
    score, _ = AGGREGATES[arm](names, values, torch.ones_like(values, dtype=torch.bool), {})
    return {n: float(g.mean()) for n, g in best_of_n(score, gold, ns).items()}


def run_one(arm: str, config: Mapping[str, Any], seed: int, smoke: bool) -> Mapping[str, float]:
    """One seed of one arm: gold of best-of-n on held-out prompts by proxies from 2,000 pairs with a quarter of the
    labels flipped."""
    if smoke:
        bed = build(seed, Condition(Annotator(pairs=64), members=2, demonstrations=256, warm_up_steps=10))
    else:
        bed = build(seed, Condition(Annotator(pairs=2000, flips=0.25), members=MEMBERS))
    rows, ns = (8, (1, 4, 8)) if smoke else (N, (1, 4, 16, 64, N))
    world, snapshots = bed.fresh()
    samples = world.sample(snapshots, HELD_OUT, rows, SAMPLING, bed.seed.child("best of n"))
    drawn = language.rows_of(samples)
    with torch.no_grad():
        proxy = bed.proxy(drawn).reshape(len(HELD_OUT), rows, -1)
    found = curve(arm, proxy, language.gold(drawn).reshape(len(HELD_OUT), rows), ns)
    peak = max(found.values())
    return {"gold": found[ns[-1]], "drop": peak - found[ns[-1]], **{f"gold@{n}": g for n, g in found.items()}}


METHOD = Method(
    slug="ensembles",
    card=14,
    title="Reward Model Ensembles Help Mitigate Overoptimization",
    paper="Coste et al. 2023, arXiv 2310.02743",
    family="online",
    essence=(
        "Optimise a conservative aggregate of reward models that differ in their seed: the minimum, or "
        "mean minus variance."
    ),
    composition="ModelReward(members).combine(minimum())",
    experiment=Experiment(
        slug="ensembles",
        claim=Claim(
            kind="effect",
            metric="gold",
            baseline="single",
            smallest_effect=0.1,
            statement=(
                f"More gold than one reward model by best-of-{N} when a quarter of the labels is wrong "
                "(equal n, hence equal KL)"
            ),
        ),
        run=f"{__name__}:run_one",
        method="wco",
        reporting_seeds=REPORTING,
        sources=(
            "guerdon.audit.best_of_n",
            "guerdon.shaping.combine",
            "guerdon.lab.text_gold",
        ),
        budget="5 members with initialisations of their own, 256 samples a prompt, nothing to tune",
    ),
    caveat=(
        "Best-of-n only: with RL, an aggregate has a smaller spread, so that equal KL coefficients do "
        "not mean equal KL."
    ),
)
