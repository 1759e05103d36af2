"""VPO: DPO and one signed likelihood term, here the optimistic sign while sampling (card 147)."""

from collections.abc import Mapping
from typing import Any

from guerdon.batch import Seed
from guerdon.catalogue.direct.exploring import bandits, found, online
from guerdon.catalogue.method import REPORTING, Method
from guerdon.lab.protocol import Claim, Experiment
from guerdon.training.optim import Optim

BETA, KL_LIMIT = 0.1, 2.0


def run_one(arm: str, config: Mapping[str, Any], seed: int, smoke: bool) -> Mapping[str, float]:
    """One seed of one arm: regret of 100 rounds, two labelled responses of the policy a bandit and round."""
    key = Seed(seed).child("catalogue")
    bed = bandits(key)
    hyper = {"beta": BETA, "alpha": config["alpha"]}
    optim = Optim(lr=config["lr"], kind="sgd", clip=None)
    recipe = online("vpo-online", bed, hyper, optim, 4 if smoke else 100, key, 2 if arm == "online dpo" else 0)
    return found(bed, recipe, KL_LIMIT)


METHOD = Method(
    slug="vpo",
    card=147,
    title="Value-Incentivized Preference Optimization: A Unified Approach to Online and Offline RLHF",
    paper="Cen et al. 2024, arXiv 2405.19320",
    family="direct",
    essence=(
        "The reward's likelihood is regularised by the value it promises; for the policy this is DPO with one "
        "likelihood term on calibration responses, raised offline (pessimism) and lowered online (optimism)."
    ),
    composition="dpo(beta) + sign * alpha * beta * relative_expectation(rows='reference')",
    experiment=Experiment(
        slug="vpo",
        claim=Claim(
            kind="effect",
            metric="regret",
            direction="lower",
            baseline="online dpo",
            smallest_effect=0.05,
            statement=(
                "Less regret than online DPO on as many labels, where the reference hardly plays the best arm (mean "
                "over 100 rounds, in gold's units)"
            ),
        ),
        run=f"{__name__}:run_one",
        method="vpo",
        grid={"lr": (100.0, 300.0), "alpha": (0.1, 1.0, 3.0)},
        reporting_seeds=REPORTING,
        sources=(
            "guerdon.catalogue.direct.exploring",
            "guerdon.objectives.optimism",
            "guerdon.objectives.pairwise",
            "guerdon.objectives.scores",
            "guerdon.objectives.terms",
            "guerdon.lab.frontier",
        ),
        budget="32 bandits, 64 labels a round for 100 rounds; 2 learning rates and 3 values of α searched for each arm",
    ),
    caveat=(
        "Both arms step on the newest pairs alone; the paper's analysis refits on all pairs so far. Regret is about "
        "speed, so it is not compared at equal KL; gold at equal KL is stored as 'area'. The pessimistic sign on "
        "chosen responses is RPO, whose entry tests it."
    ),
    checks=(
        "tests/objectives/test_optimism.py::test_vpo_by_hand",
        "tests/objectives/test_optimism.py::test_the_value_of_a_calibrated_reward_is_minus_beta_times_the_mean_log_ratio",
        "tests/objectives/test_optimism.py::test_vpo_calibrated_on_winners_is_rpo_up_to_a_constant",
        "tests/objectives/test_optimism.py::test_the_floor_ends_the_push",
        "tests/training/test_drawing.py::test_vpos_alpha_falls_with_the_updates",
    ),
)
