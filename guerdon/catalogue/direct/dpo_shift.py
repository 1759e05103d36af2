"""DPO-Shift: a factor below one on the rejected side, so that the chosen response's likelihood falls less (card 98)."""

from collections.abc import Mapping
from typing import Any

from guerdon.catalogue.direct import on_text
from guerdon.catalogue.direct.exact import Annotator
from guerdon.catalogue.direct.sides import side_frontier
from guerdon.catalogue.method import REPORTING, Method
from guerdon.lab.protocol import Claim, Experiment
from guerdon.objectives import dpo, dpo_shift

KL_LIMIT = 2.0
PAIRS = Annotator(pairs=256)


def run_one(arm: str, config: Mapping[str, Any], seed: int, smoke: bool) -> Mapping[str, float]:
    """One seed of one arm: mean log-ratio of the chosen responses over KL, along one training; config['f'] is the
    factor, 1 for DPO."""
    beta = config["beta"]
    objective = dpo(beta) if arm == "dpo" else dpo_shift(beta, config["f"])
    return side_frontier(objective, seed, KL_LIMIT, PAIRS, smoke=smoke)


METHOD = Method(
    slug="dpo-shift",
    card=98,
    title="DPO-Shift: Shifting the Distribution of Direct Preference Optimization",
    paper="Yang et al. 2025, arXiv 2502.07599",
    family="direct",
    essence=(
        "Multiplying the rejected log-ratio by f < 1 relaxes the pull between similar responses: to first order the "
        "chosen log-probability gains, and the margin loses, in proportion to 1 − f."
    ),
    composition="pairwise(log_ratio(), logistic(), side=strengths(beta, f * beta))",
    experiment=Experiment(
        slug="dpo-shift",
        claim=Claim(
            kind="effect",
            metric="chosen",
            baseline="dpo",
            smallest_effect=0.1,
            statement=(
                "Chosen responses keep a higher log-ratio than under DPO at equal KL (mean over KL up to 2 nats, in "
                "nats a response)"
            ),
        ),
        run=f"{__name__}:run_one",
        method="dpo-shift",
        grid={"beta": (0.1, 0.3), "f": (0.95, 0.8)},
        reporting_seeds=REPORTING,
        sources=(
            "guerdon.catalogue.direct.sides",
            "guerdon.objectives.shift",
            "guerdon.objectives.pairwise",
            "guerdon.objectives.scores",
            "guerdon.objectives.terms",
            "guerdon.lab.finite",
            "guerdon.lab.frontier",
        ),
        budget="256 pairs, 80 full-batch rounds, looked at every second; 2 values of β and of f searched for each arm",
    ),
    beside=(on_text.DPO_SHIFT,),
    caveat=(
        "The paper compares after equal training, where a smaller f also moves less: those numbers are stored as "
        "'chosen last', 'accuracy last' and 'kl last'. A pilot on tuning seed 1000 showed that almost all of that gain "
        "is the smaller KL, before the reporting seeds were looked at."
    ),
    checks=(
        "tests/objectives/test_shift.py::test_dpo_shift_by_hand",
        "tests/objectives/test_shift.py::test_the_reference_is_multiplied_too",
        "tests/objectives/test_shift.py::test_the_linear_schedule_ends_where_it_should",
        "tests/audit/test_displacement.py::test_u1_and_u2_predict_one_small_step_of_dpo_shift",
    ),
)
