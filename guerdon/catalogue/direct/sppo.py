"""SPPO: self-play that regresses the log-ratio to the last policy onto the win rate against it (card 170)."""

from collections.abc import Mapping
from typing import Any

from guerdon.catalogue.direct import on_text
from guerdon.catalogue.direct.selfplay import played
from guerdon.catalogue.method import Method
from guerdon.lab.duels import online
from guerdon.lab.protocol import Claim, Experiment
from guerdon.objectives import dpo, sppo
from guerdon.training.selfplay import best_worst_duels

ETAS = (0.5, 1.0, 2.0)
BETAS = (16.0, 4.0, 1.0)


def run_one(arm: str, config: Mapping[str, Any], seed: int, smoke: bool) -> Mapping[str, float]:
    """One seed of one arm: the same pairs, samples and iterations, under SPPO's loss or DPO's.

    config['strength'] picks the weakest, middle or strongest η or β of the arm.
    """
    k = config["strength"]
    objective = sppo(ETAS[k]) if arm == "sppo" else dpo(BETAS[k])
    return played(
        lambda bed, beside: online(
            bed, objective, build=best_worst_duels(bed.judge), lr=config["lr"], companions=beside
        ),
        seed,
        smoke=smoke,
    )


METHOD = Method(
    slug="sppo",
    card=170,
    title="Self-Play Preference Optimization for Language Model Alignment",
    paper="Wu et al. 2024, arXiv 2405.00675",
    family="direct",
    essence=(
        "Each iteration regresses the log-ratio to the last policy onto the win rate against it, the step of "
        "multiplicative weights, so that the average policy nears the Nash equilibrium of the preference game."
    ),
    composition="sppo(eta) on best_worst_duels(judge), reference CopyEvery(iteration), which also draws",
    experiment=Experiment(
        slug="sppo",
        claim=Claim(
            kind="effect",
            metric="exploitability",
            direction="lower",
            baseline="iterative dpo",
            smallest_effect=0.02,
            statement="An average policy that is less exploitable than that of iterative DPO, on cyclic preferences",
        ),
        run=f"{__name__}:run_one",
        method="sppo",
        grid={"lr": (0.03, 0.1, 0.3), "strength": (0, 1, 2)},
        reporting_seeds=tuple(range(10, 26)),
        sources=(
            "guerdon.catalogue.direct.selfplay",
            "guerdon.objectives.selfplay",
            "guerdon.objectives.pairwise",
            "guerdon.objectives.scores",
            "guerdon.objectives.terms",
            "guerdon.training.duels",
            "guerdon.training.selfplay",
            "guerdon.lab.duels",
        ),
        budget="20 iterations of 12 updates, 5 samples a prompt; 3 strengths and 3 learning rates for each arm",
    ),
    beside=(on_text.SPPO,),
    caveat=(
        "24 prompts with 9 responses each and a judge who knows every preference; strengths are those of a table, far "
        "below the paper's η of 1000, which works by early stopping. Exploitability is that of the mean over rounds."
    ),
    checks=(
        "tests/objectives/test_selfplay.py::test_sppo_by_hand",
        "tests/objectives/test_selfplay.py::test_sppo_is_zero_at_the_last_policy_where_nothing_wins",
        "tests/objectives/test_selfplay.py::test_with_the_exact_log_z_the_minimiser_is_the_multiplicative_update",
    ),
)
