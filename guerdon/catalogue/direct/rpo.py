"""RPO: the SFT term beside DPO as the answer to the worst plausible reward (card 157)."""

from collections.abc import Mapping
from typing import Any

from guerdon.catalogue.direct.exact import Annotator
from guerdon.catalogue.direct.sides import side_frontier
from guerdon.catalogue.method import REPORTING, Method
from guerdon.lab.protocol import Claim, Experiment
from guerdon.objectives import dpo, rpo

KL_LIMIT = 1.0
THIN = Annotator(pairs=256, flip=0.1, coverage=0.25)


def run_one(arm: str, config: Mapping[str, Any], seed: int, smoke: bool) -> Mapping[str, float]:
    """One seed of one arm: gold over KL along one training; config['weight'] is ηβ, the weight of the SFT term, 0 for
    DPO."""
    beta = config["beta"]
    objective = dpo(beta) if arm == "dpo" else rpo(beta, config["weight"] / beta)
    return side_frontier(objective, seed, KL_LIMIT, THIN, smoke=smoke)


METHOD = Method(
    slug="rpo",
    card=157,
    title="Provably Mitigating Overoptimization in RLHF: Your SFT Loss is Implicitly an Adversarial Regularizer",
    paper="Liu et al. 2024, arXiv 2405.16436",
    family="direct",
    essence=(
        "A policy that is best against the worst reward the pairs allow minimises DPO's loss plus the negative "
        "log-likelihood of a baseline's responses; in practice the chosen ones."
    ),
    composition="dpo(beta) + eta * beta * expectation(-1, 'winner', 'total')",
    experiment=Experiment(
        slug="rpo",
        claim=Claim(
            kind="effect",
            metric="gold",
            baseline="dpo",
            smallest_effect=0.1,
            statement=(
                "More gold than DPO at equal KL where pairs are few, noisy and cover a quarter of prompts and "
                "responses (mean over KL up to 1 nat, in gold's units)"
            ),
        ),
        run=f"{__name__}:run_one",
        method="rpo",
        grid={"beta": (0.1, 0.5, 1.0), "weight": (0.003, 0.01)},
        reporting_seeds=REPORTING,
        sources=(
            "guerdon.catalogue.direct.sides",
            "guerdon.objectives.optimism",
            "guerdon.objectives.expectation",
            "guerdon.objectives.pairwise",
            "guerdon.objectives.scores",
            "guerdon.objectives.terms",
            "guerdon.lab.finite",
            "guerdon.lab.frontier",
        ),
        budget="256 pairs with 10 % flips, 80 full-batch rounds; 3 values of β and 2 of ηβ searched for each arm",
    ),
    caveat=(
        "The chosen responses are draws of the start policy, so imitating them holds the policy near the start. What "
        "became of the chosen side is stored as 'chosen' (at equal KL) and 'chosen last' (after equal training)."
    ),
    checks=(
        "tests/objectives/test_optimism.py::test_rpo_by_hand",
        "tests/objectives/test_optimism.py::test_rpo_pulls_the_winner_by_eta_beta_beside_dpo",
        "tests/objectives/test_optimism.py::test_vpo_calibrated_on_winners_is_rpo_up_to_a_constant",
        "tests/objectives/test_optimism.py::test_rpo_is_the_maximin_against_the_worst_plausible_reward",
        "tests/objectives/test_trl_displacement.py",
    ),
)
