"""LD-DPO: steps beyond the pair's shared length count less, so that labels that like length teach less of it (card
165)."""

from collections.abc import Mapping
from typing import Any

from guerdon.catalogue.direct.frontier import offline_frontier
from guerdon.catalogue.method import REPORTING, Method
from guerdon.lab.protocol import Claim, Experiment
from guerdon.lab.text_gold.pairs import Annotator
from guerdon.objectives import dpo, ld_dpo

KL_LIMIT = 2.0
BETA = 0.1
EPOCHS = (0.25, 0.5, 1.0, 2.0, 4.0)
LENGTH_LOVING = Annotator(pairs=1000, flips=0.0, length=0.15)


def run_one(arm: str, config: Mapping[str, Any], seed: int, smoke: bool) -> Mapping[str, float]:
    """One seed of one arm: gold against KL over the length of training, on labels of an annotator who likes length.

    config['alpha'] is LD-DPO's, 1 for DPO.
    """
    objective = dpo(BETA) if arm == "dpo" else ld_dpo(BETA, config["alpha"])
    recipes = [(objective, epochs) for epochs in EPOCHS]
    return offline_frontier(recipes, config["lr"], seed, KL_LIMIT, LENGTH_LOVING, smoke)


METHOD = Method(
    slug="ld-dpo",
    card=165,
    title="Length Desensitization in Direct Preference Optimization",
    paper="Liu et al. 2024, arXiv 2409.06411",
    family="direct",
    essence=(
        "The longer side of a pair gets the larger gradient; weighing its steps beyond the shared length by α takes "
        "the lesson about length out of the loss."
    ),
    composition="pairwise(scaled(beta, desensitised_log_ratio(alpha)), logistic())",
    experiment=Experiment(
        slug="ld-dpo",
        claim=Claim(
            kind="effect",
            metric="area",
            baseline="dpo",
            smallest_effect=0.1,
            statement=(
                "More gold than DPO at equal KL where annotators like length (mean over KL up to 2 nats, in gold's "
                "units)"
            ),
        ),
        run=f"{__name__}:run_one",
        method="ld-dpo",
        grid={"lr": (3e-4, 1e-3)},
        settings={"ld-dpo": {"alpha": 0.5}},
        reporting_seeds=REPORTING,
        sources=(
            "guerdon.catalogue.direct.frontier",
            "guerdon.objectives.tokens",
            "guerdon.objectives.pairwise",
            "guerdon.objectives.scores",
            "guerdon.objectives.terms",
            "guerdon.lab.text_gold",
            "guerdon.lab.frontier",
        ),
        budget="1,000 pairs, a quarter to 4 epochs; α 0.5 and β 0.1 fixed, 2 learning rates searched for each arm",
    ),
    caveat=(
        "The paper's gain is in length-controlled win rate of 7B and 8B models; here gold itself asks for a length. "
        "Mean lengths are stored."
    ),
    checks=(
        "tests/objectives/test_tokens.py::test_ld_dpo_by_hand",
        "tests/objectives/test_tokens.py::test_ld_dpo_with_alpha_one_is_dpo",
        "tests/objectives/test_trl_tokens.py::test_ld_dpo_is_trls",
    ),
)
