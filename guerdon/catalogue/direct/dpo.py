"""DPO: preference learning without a reward model or sampling (card 169)."""

from collections.abc import Mapping
from typing import Any

from guerdon.catalogue.direct.frontier import offline_frontier
from guerdon.catalogue.method import REPORTING, Method
from guerdon.lab.protocol import Claim, Experiment
from guerdon.objectives import dpo, sft

KL_LIMIT = 1.0
BETAS = (0.1, 0.3, 1.0, 3.0)
EPOCHS = (1.0, 3.0, 8.0)


def run_one(arm: str, config: Mapping[str, Any], seed: int, smoke: bool) -> Mapping[str, float]:
    """One seed of one arm: gold against KL over its own knob, β for DPO and the number of epochs for SFT on chosen."""
    if arm == "dpo":
        recipes = [(dpo(beta), 3.0) for beta in BETAS]
    else:
        recipes = [(sft("winner"), epochs) for epochs in EPOCHS]
    return offline_frontier(recipes, config["lr"], seed, KL_LIMIT, smoke=smoke)


METHOD = Method(
    slug="dpo",
    card=169,
    title="Direct Preference Optimization: Your Language Model is Secretly a Reward Model",
    paper="Rafailov et al. 2023, arXiv 2305.18290",
    family="direct",
    essence=(
        "The KL-regularised optimum writes a reward as β times a log-ratio, which turns Bradley-Terry "
        "into one logistic loss on pairs."
    ),
    composition="pairwise(scaled(beta, log_ratio()), logistic())",
    experiment=Experiment(
        slug="dpo",
        claim=Claim(
            kind="effect",
            metric="area",
            baseline="sft on chosen",
            smallest_effect=0.1,
            statement=(
                "More gold than SFT on the chosen responses at equal KL (mean over KL up to 1 nat, in gold's units)"
            ),
        ),
        run=f"{__name__}:run_one",
        method="dpo",
        grid={"lr": (3e-4, 1e-3)},
        reporting_seeds=REPORTING,
        sources=(
            "guerdon.catalogue.direct.frontier",
            "guerdon.objectives.pairwise",
            "guerdon.objectives.scores",
            "guerdon.objectives.expectation",
            "guerdon.objectives.terms",
            "guerdon.lab.text_gold",
            "guerdon.lab.frontier",
        ),
        budget="1,000 pairs, 3 epochs a point; 4 values of β against 3 numbers of epochs",
    ),
    caveat=(
        "Pairs are labelled by the gold reward itself, without flips, on prompts that are also in SFT; "
        "evaluation is on held-out prompts."
    ),
)
