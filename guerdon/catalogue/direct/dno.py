"""DNO: logistic regression of log-ratios onto differences of win rates, all pairs with soft labels (card 75)."""

from collections.abc import Mapping
from typing import Any

from guerdon.catalogue.direct.selfplay import played
from guerdon.catalogue.method import Method
from guerdon.lab.duels import online
from guerdon.lab.protocol import Claim, Experiment
from guerdon.objectives import dno
from guerdon.training.selfplay import all_pairs

ETAS = {"dno": (2.0, 1.0, 0.5), "iterative dpo": (16.0, 4.0, 1.0)}


def run_one(arm: str, config: Mapping[str, Any], seed: int, smoke: bool) -> Mapping[str, float]:
    """One seed of one arm: all pairs of a prompt's samples, labelled by win rates softly, or by who has the higher one.

    config['strength'] picks η (the β of DPO) from the weakest to the strongest step of the arm.
    """
    labels = "win_rate" if arm == "dno" else "hard"
    objective = dno(ETAS[arm][config["strength"]])
    return played(
        lambda bed, beside: online(
            bed, objective, build=all_pairs(bed.judge, labels), lr=config["lr"], companions=beside
        ),
        seed,
        smoke=smoke,
    )


METHOD = Method(
    slug="dno",
    card=75,
    title="Direct Nash Optimization: Teaching Language Models to Self-Improve with General Preferences",
    paper="Rosset et al. 2024, arXiv 2404.03715",
    family="direct",
    essence=(
        "The reward is the win rate against the current policy; a step is a logistic regression of log-ratios onto "
        "differences of win rates, on the policy's own samples."
    ),
    composition="dno(eta) on all_pairs(judge, 'win_rate'), reference CopyEvery(iteration), which also draws",
    experiment=Experiment(
        slug="dno",
        claim=Claim(
            kind="effect",
            metric="exploitability",
            direction="lower",
            baseline="iterative dpo",
            smallest_effect=0.02,
            statement="An average policy that is less exploitable than that of iterative DPO, on cyclic preferences",
        ),
        run=f"{__name__}:run_one",
        method="dno",
        grid={"lr": (0.03, 0.1, 0.3), "strength": (0, 1, 2)},
        reporting_seeds=tuple(range(10, 22)),
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
    caveat=(
        "The general algorithm on a table, with a judge who knows every preference; not DNO-Prct (a teacher's answers, "
        "a judge's points and a margin), whose hard labels are the baseline here. Exploitability is that of the mean "
        "over rounds."
    ),
    checks=(
        "tests/objectives/test_selfplay.py::test_dno_by_hand",
        "tests/objectives/test_selfplay.py::test_dno_is_symmetric_where_win_rates_are_equal_and_dpo_where_labels_are_hard",
        "tests/objectives/test_selfplay.py::test_dno_exact_step_is_the_soft_update",
        "tests/training/test_selfplay.py::test_margin_pairs",
    ),
)
