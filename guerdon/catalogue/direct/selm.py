"""SELM: iterative DPO that also lowers the likelihood of the last policy's own draws, to look further (card 186)."""

from collections.abc import Mapping
from typing import Any

from guerdon.batch import Seed
from guerdon.catalogue.direct import on_text
from guerdon.catalogue.direct.exploring import found, online
from guerdon.catalogue.method import REPORTING, Method
from guerdon.lab.finite import finite
from guerdon.lab.protocol import Claim, Experiment
from guerdon.training.optim import Optim

BETA, KL_LIMIT, ROUNDS = 0.1, 2.0, 60


def run_one(arm: str, config: Mapping[str, Any], seed: int, smoke: bool) -> Mapping[str, float]:
    """One seed of one arm: gold over KL to the start along three iterations, three labelled responses a prompt and
    round; SELM draws one of them from the reference, the policy of the iteration before."""
    key = Seed(seed).child("catalogue")
    bed = finite(key, prompts=4, responses=16) if smoke else finite(key)
    hyper = {"beta": BETA, "alpha": config["alpha"]}
    optim = Optim(lr=config["lr"], kind="adam", clip=None)
    recipe = online("selm", bed, hyper, optim, 4 if smoke else ROUNDS, key, 3 if arm == "iterative dpo" else 0)
    return found(bed, recipe, KL_LIMIT)


METHOD = Method(
    slug="selm",
    card=186,
    title="Self-Exploring Language Models: Active Preference Elicitation for Online Alignment",
    paper="Zhang et al. 2024, arXiv 2405.19332",
    family="direct",
    essence=(
        "Rewards that promise a response better than the reference's are believed a little more; for the policy this "
        "is iterative DPO with a small term that lowers the likelihood of the reference's own draws."
    ),
    composition="vpo(beta, alpha, sign=1, rows='reference') with CopyEvery and best_worst(keep='reference')",
    experiment=Experiment(
        slug="selm",
        claim=Claim(
            kind="effect",
            metric="area",
            baseline="iterative dpo",
            smallest_effect=0.1,
            statement=(
                "More gold than iterative DPO on as many labels at equal KL to the start (mean over KL up to 2 nats, "
                "in gold's units)"
            ),
        ),
        run=f"{__name__}:run_one",
        method="selm",
        grid={"lr": (0.02, 0.05), "alpha": (0.01, 0.1, 1.0)},
        reporting_seeds=REPORTING,
        sources=(
            "guerdon.catalogue.direct.exploring",
            "guerdon.objectives.optimism",
            "guerdon.objectives.pairwise",
            "guerdon.objectives.scores",
            "guerdon.objectives.terms",
            "guerdon.lab.finite",
            "guerdon.lab.frontier",
        ),
        budget="16 prompts, 48 labels a round, 3 iterations of 20 rounds; 2 learning rates, 3 values of α for each arm",
    ),
    beside=(on_text.SELM,),
    caveat=(
        "Gold itself ranks the responses, where the paper asks a preference model, and no recorded pair is among them. "
        "The best response's probability at the end is stored as 'best', the regret as 'regret'."
    ),
    checks=(
        "tests/objectives/test_optimism.py::test_selm_by_hand",
        "tests/objectives/test_optimism.py::test_a_bonus_on_the_loser_is_a_stronger_push_on_it",
        "tests/training/test_drawing.py::test_the_references_rows_are_named_and_stay_in_the_batch",
        "tests/training/test_drawing.py::test_selms_reference_is_the_policy_of_the_iteration_before",
    ),
)
