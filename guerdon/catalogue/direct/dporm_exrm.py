"""DPO's implicit reward beside an explicit reward model, near the training pairs and away from them (card 160)."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from guerdon import reduce
from guerdon.audit.reward_comparison import accuracy
from guerdon.batch import Samples, Steps
from guerdon.catalogue.method import REPORTING, Method
from guerdon.lab.protocol import Claim, Experiment
from guerdon.lab.shifts import shifted_pairs
from guerdon.lab.text_gold import language
from guerdon.lab.text_gold.pairs import Annotator, covered
from guerdon.lab.text_gold.proxy import proxy_model
from guerdon.lab.text_gold.recipes import offline
from guerdon.lab.text_gold.testbed import Bed, Condition, build
from guerdon.objectives import dpo
from guerdon.training.reward_models import fit_scalar_model
from guerdon.training.run import run

PAIRS = Annotator(pairs=1000, flips=0.0, coverage=0.5)
SMALL = Annotator(pairs=64, flips=0.0, coverage=0.5)


def scores(arm: str, bed: Bed, lr: float, sets: Mapping[str, Samples], rounds: int | None) -> dict[str, Tensor]:
    """Every set scored [2·each] by a head on the start policy's weights, or by β·ρ of the start policy after DPO: equal
    pairs, equal passes, equal updates, one grid of learning rates for both."""
    if arm == "explicit":
        model = proxy_model(bed.seed.child("explicit"), bed.fresh()[1].module)
        records = bed.pairs.records()
        fit_scalar_model(
            records[: 32 * rounds] if rounds else records, model, epochs=2, lr=lr, seed=bed.seed.child("fit")
        )
        with torch.no_grad():
            return {name: model.eval()(language.rows_of(rows))[:, 0] for name, rows in sets.items()}
    recipe = offline(bed, dpo(0.1), lr, 2, pairs_at_once=32)
    run(recipe.with_(rounds=rounds) if rounds else recipe)
    out = {}
    with torch.no_grad():
        for name, rows in sets.items():
            steps = recipe.world.rescore(recipe.snapshots, rows, ("policy", "reference"))
            assert isinstance(steps, Steps)
            out[name] = 0.1 * reduce.total(steps.log_ratio(), steps.mask)
    return out


def run_one(arm: str, config: Mapping[str, Any], seed: int, smoke: bool) -> Mapping[str, float]:
    """One seed of one arm: accuracy against the sign of gold on four sets; 'ood' is the mean of the three shifted."""
    small = Condition(SMALL, members=0, demonstrations=256, warm_up_steps=10)
    bed = build(seed, small if smoke else Condition(PAIRS, members=0))
    sets = shifted_pairs(bed, covered(PAIRS.coverage), 16 if smoke else 400)
    found = {}
    for name, value in scores(arm, bed, config["lr"], sets, 1 if smoke else None).items():
        gold = language.gold(language.rows_of(sets[name])).view(-1, 2)
        value, kept = value.view(-1, 2), gold[:, 0] != gold[:, 1]
        first = (gold[:, 0] > gold[:, 1])[kept]
        pair = value[kept]
        found[name] = accuracy(torch.where(first, pair[:, 0], pair[:, 1]), torch.where(first, pair[:, 1], pair[:, 0]))
    ood = (found["prompt"] + found["response"] + found["both"]) / 3
    return {"ood": ood, "drop": found["id"] - ood, **found}


METHOD = Method(
    slug="dporm-exrm",
    card=160,
    title="On the Limited Generalization Capability of the Implicit Reward Model Induced by DPO",
    paper="Lin et al. 2024, arXiv 2409.03650",
    family="direct",
    essence=(
        "A policy's implicit reward fits its pairs as well as an explicit head but orders pairs of other prompts and "
        "other writers worse, so that further rounds should be labelled by an explicit model."
    ),
    composition="compare_rewards({'id': ScoredPairs(...), 'ood': ScoredPairs(...)})",
    experiment=Experiment(
        slug="dporm-exrm",
        claim=Claim(
            kind="effect",
            metric="ood",
            baseline="implicit",
            smallest_effect=0.02,
            statement=(
                "An explicit head orders more pairs rightly than DPO's implicit reward under prompt shift, response "
                "shift and both (mean accuracy)"
            ),
        ),
        run=f"{__name__}:run_one",
        method="explicit",
        grid={"lr": (3e-4, 1e-3, 3e-3)},
        tuned_on="id",
        reporting_seeds=REPORTING,
        sources=(
            "guerdon.audit.reward_comparison",
            "guerdon.objectives.pairwise",
            "guerdon.objectives.terms",
            "guerdon.lab.shifts",
            "guerdon.lab.text_gold",
        ),
        budget="1,000 pairs on half of the prompts, two passes of 32 pairs; 3 learning rates searched for each arm",
    ),
    caveat=(
        "A policy of 90,000 weights; learning rates are picked by accuracy in distribution. In a pilot on a tuning "
        "seed the implicit reward was behind in distribution too: 'id' and 'drop' are stored."
    ),
    checks=(
        "tests/audit/test_reward_comparison.py::test_accuracy_by_hand",
        "tests/audit/test_reward_comparison.py::test_with_full_coverage_both_rank_as_the_true_reward",
    ),
)
