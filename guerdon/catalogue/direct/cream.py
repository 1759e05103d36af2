"""CREAM: self-rewarding that is as sure of a label as the policy's last two versions agree on it (card 41)."""

import itertools
from collections.abc import Mapping
from typing import Any

from guerdon.batch import Seed
from guerdon.catalogue.direct import on_text
from guerdon.catalogue.method import Method
from guerdon.lab import finite as lab
from guerdon.lab.frontier import frontier_metrics
from guerdon.lab.protocol import Claim, Experiment
from guerdon.objectives import cream, dpo
from guerdon.training import Every, Optim, Prompts, Recipe, SelfRewardingRounds, self_labelled, unlabelled
from guerdon.training.run import run
from guerdon.worlds import Frozen, Snapshots

BETAS, KL_LIMIT, ITERATIONS, EACH = (0.03, 0.1, 0.3), 4.0, 3, 20
MEASURES: Mapping[str, str | None] = {"cream": "kendall", "self-rewarding": None}


def seeded(bed: lab.Finite, key: Seed, smoke: bool) -> tuple[Any, Snapshots]:
    """The first policy: DPO on 64 pairs, a quarter mislabelled, with the snapshots of self-rewarding."""
    recipe = lab.offline(bed, lab.compare(bed, 64, key, flip=0.25), dpo(0.3), rounds=2 if smoke else 30)
    run(recipe)
    snapshots = recipe.snapshots
    assert isinstance(snapshots, Snapshots)
    for name in ("round", "previous"):
        snapshots.add(name, Frozen())
    snapshots.put("previous", snapshots.parameters("reference"))
    return recipe.world, snapshots


def rewarded(
    bed: lab.Finite, key: Seed, measure: str | None, average: bool, beta: float, lr: float, smoke: bool
) -> list[dict[str, float]]:
    """Exact KL and gold of the first policy and four times in each of three self-rewarding rounds."""
    world, snapshots = seeded(bed, key, smoke)
    start = lab.evaluate(bed, snapshots)
    recipe = Recipe(
        world,
        snapshots,
        Prompts(list(range(len(bed.gold))), len(bed.gold)),
        cream(beta),
        Optim(lr, kind="adam", clip=None),
        ITERATIONS * (1 if smoke else EACH),
        key.child("rounds"),
        per_start=5,
        estimator=unlabelled(),
        build=self_labelled(measure, average),
        companions=(SelfRewardingRounds(ITERATIONS),),
        evals=(Every(1 if smoke else EACH // 4, lambda now: lab.evaluate(bed, now.snapshots)),),
    )
    told = [m for m in run(recipe).history if "eval/gold" in m]
    return [start, *({k: m[f"eval/{k}"] for k in ("gold", "kl")} for m in told)]


def run_one(arm: str, config: Mapping[str, Any], seed: int, smoke: bool) -> Mapping[str, float]:
    """Gold against KL over rounds and β; 'gold_t' and 'kl_t': after t rounds (0: the first policy), means over β."""
    key = Seed(seed).child("cream")
    bed = lab.finite(key, prompts=4, responses=16) if smoke else lab.finite(key)
    runs = [rewarded(bed, key, MEASURES[arm], config["average"], beta, config["lr"], smoke) for beta in BETAS]
    points = [(p["kl"], p["gold"]) for found in runs for p in found]
    found = frontier_metrics(points, bed.start, KL_LIMIT)
    for t, k in itertools.product(range(ITERATIONS + 1), ("gold", "kl")):
        found[f"{k}_{t}"] = sum(r[t * (len(r) - 1) // ITERATIONS][k] for r in runs) / len(runs)
    return found


METHOD = Method(
    slug="cream",
    card=41,
    title="CREAM: Consistency Regularized Self-Rewarding Language Models",
    paper="Wang et al. 2024, arXiv 2410.12735",
    family="direct",
    essence=(
        "The policy ranks its own samples by its implicit reward; how far this agrees with the ranking of the round "
        "before is the probability given to the label."
    ),
    composition="cream(beta) on self_labelled('kendall') pairs, with SelfRewardingRounds",
    experiment=Experiment(
        slug="cream",
        claim=Claim(
            kind="effect",
            metric="area",
            baseline="self-rewarding",
            smallest_effect=0.1,
            statement="More gold than self-rewarding without consistency at equal KL over three rounds from a noisy "
            "start (mean over KL up to 4 nats, in gold's units)",
        ),
        run=f"{__name__}:run_one",
        method="cream",
        grid={"lr": (0.01, 0.02), "average": (True, False)},
        reporting_seeds=tuple(range(10, 26)),
        sources=(
            "guerdon.objectives.cream",
            "guerdon.objectives.pairwise",
            "guerdon.objectives.scores",
            "guerdon.objectives.terms",
            "guerdon.training.self_rewarding",
            "guerdon.training.prompt_lists",
            "guerdon.reduce.ranks",
            "guerdon.lab.finite",
            "guerdon.lab.frontier",
        ),
        budget="3 values of β, 3 rounds of 20 updates on 16 prompts × 5 samples; both arms search rate and averaging",
    ),
    beside=(on_text.CREAM,),
    caveat=(
        "Enumerated responses and a log-linear policy; the first policy is DPO on 64 pairs, a quarter mislabelled, "
        "where the paper has SFT. The paper compares rounds, not equal KL: 'gold_t' and 'kl_t' have the rounds."
    ),
    checks=(
        "tests/training/test_self_rewarding.py::test_rankings_alike_and_reversed",
        "tests/training/test_self_rewarding.py::test_loss_by_hand",
        "tests/training/test_self_rewarding.py::test_the_optimum_is_the_logit_of_the_confidence",
        "tests/training/test_self_rewarding.py::test_consistencies_are_kept_by_id",
        "tests/numerics/test_ranks.py::test_ties_are_ranked_by_place",
    ),
)
