"""Ranking accuracy: a policy that prefers the right side of its pairs need not make it the likelier one (card 178)."""

from collections.abc import Mapping
from typing import Any

import torch

from guerdon.audit.ranking_report import rankings
from guerdon.audit.rankings import pair_logps
from guerdon.batch import Steps
from guerdon.catalogue.method import REPORTING, Method
from guerdon.lab.protocol import Claim, Experiment
from guerdon.lab.text_gold import HELD_OUT
from guerdon.lab.text_gold.pairs import Annotator, label
from guerdon.lab.text_gold.policy import SAMPLING
from guerdon.lab.text_gold.recipes import offline
from guerdon.lab.text_gold.testbed import Condition, build
from guerdon.objectives import dpo_gamma
from guerdon.training.run import run

CLEAN = Annotator(pairs=1000, flips=0.0)
SMALL = Annotator(pairs=64, flips=0.0)
PAIRS_A_PROMPT = 25


def run_one(arm: str, config: Mapping[str, Any], seed: int, smoke: bool) -> Mapping[str, float]:
    """One seed: DPO for one epoch, then pairs of start-policy responses to held-out prompts are ranked by it.

    Both arms are two readings of one policy: 'accuracy' is reward accuracy in the arm of that name, ranking accuracy in
    the other. gamma 0 and 2 of the modulated loss are trained in the ranking arm too, and stored.
    """
    condition = (
        Condition(SMALL, members=0, demonstrations=256, warm_up_steps=10) if smoke else Condition(CLEAN, members=0)
    )
    bed = build(seed, condition)
    world, snapshots = bed.fresh()
    starts = [p for p in HELD_OUT[: 4 if smoke else None] for _ in range(2 if smoke else PAIRS_A_PROMPT)]
    held = label(world.sample(snapshots, starts, 2, SAMPLING, bed.seed.child("ranked")), CLEAN, bed.seed)
    out: dict[str, float] = {}
    for gamma in (1.0,) if arm == "reward accuracy" else (1.0, 0.0, 2.0):
        recipe = offline(bed, dpo_gamma(0.1, gamma), config["lr"], 1)
        run(recipe.with_(rounds=1) if smoke else recipe)
        with torch.no_grad():
            steps = recipe.world.rescore(recipe.snapshots, held.samples, ("policy", "reference"))
        assert isinstance(steps, Steps)
        found = rankings(pair_logps(steps, held.pairs))
        own = {
            "ranking": found.accuracy.estimate,
            "per_step": found.per_step.estimate,
            "reward": found.reward.estimate,
            "flipped": found.changed.flipped or 0.0,
            "gap": found.gap.median,
        }
        out |= {f"{name}@{gamma:g}": value for name, value in own.items()}
        out["start"] = found.reference.estimate
    return {"accuracy": out["reward@1" if arm == "reward accuracy" else "ranking@1"], **out}


METHOD = Method(
    slug="ranking-accuracy",
    card=178,
    title="Preference Learning Algorithms Do Not Learn Preference Rankings",
    paper="Chen et al. 2024, arXiv 2405.19534",
    family="direct",
    essence=(
        "Whether the preferred response is the likelier one is another question than whether its log-ratio is higher; "
        "a wrong start needs a loss far below log 2 to be turned."
    ),
    composition="rankings(pair_logps(steps, pairs)); dpo_gamma(beta, gamma)",
    experiment=Experiment(
        slug="ranking-accuracy",
        claim=Claim(
            kind="effect",
            metric="accuracy",
            baseline="ranking accuracy",
            smallest_effect=0.05,
            statement=(
                "After an epoch of DPO, more held-out pairs have a higher log-ratio on the preferred side than have it "
                "as the likelier one (shares; 0.05 is five points)"
            ),
        ),
        run=f"{__name__}:run_one",
        method="reward accuracy",
        settings={"reward accuracy": {"lr": 3e-4}, "ranking accuracy": {"lr": 3e-4}},
        reporting_seeds=REPORTING,
        sources=(
            "guerdon.audit.rankings",
            "guerdon.audit.ranking_report",
            "guerdon.objectives.modulated",
            "guerdon.objectives.pairwise",
            "guerdon.objectives.terms",
            "guerdon.lab.text_gold",
        ),
        budget="1,000 pairs, one epoch, β 0.1; 25 pairs of start-policy responses to each held-out prompt",
    ),
    caveat=(
        "Two readings of one policy, so that nothing is searched. The paper's models are of billions of parameters, "
        "where fewer than a tenth of the wrong pairs turn; the share that turns here is stored as 'flipped@1'."
    ),
    checks=(
        "tests/audit/test_rankings.py::test_the_threshold_by_hand",
        "tests/audit/test_rankings.py::test_a_pair_is_ranked_rightly_exactly_where_its_loss_is_below_the_threshold",
        "tests/audit/test_rankings.py::test_the_idealised_policy_by_hand",
        "tests/audit/test_rankings.py::test_accuracy_by_the_token_differs_on_unequal_lengths",
    ),
)
