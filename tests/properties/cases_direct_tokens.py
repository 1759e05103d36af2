"""Cases of guerdon.objectives.tokens and guerdon.shaping.implicit."""

from __future__ import annotations

from guerdon import objectives, shaping
from guerdon.checks import Degree, Limit, Move
from tests.properties.cases_objectives import LOGS, built, loss_of, scored
from tests.properties.cases_shaping import RATIO, along

GUIDED = (*LOGS, "steps.logp.guide")

CASES = [
    built(
        objectives.tgdpo,
        {"alpha": 30.0},  # so that some weights are negative
        {"beta": 0.7, "alpha": 2.0, "clamp": True},
        moves=(Move(GUIDED, 0.0),),
        limits=(Limit({"alpha": 0.0}, loss_of(objectives.dpo(), "steps.logp.guide"), "dpo"),),
    ),
    built(
        objectives.ld_dpo,
        effects={"beta": 0.7, "alpha": 0.1},
        moves=(Move(LOGS, 0.0),),
        limits=(Limit({"alpha": 1.0}, loss_of(objectives.dpo()), "dpo"),),
    ),
    built(
        scored(objectives.guided_log_ratio),
        {"strength": 3.0},
        {"strength": 0.5, "clamp": True, "guide": "old", "of": "old", "to": "old"},
        function=objectives.guided_log_ratio,
        moves=(Move(GUIDED, 0.0),),
        limits=(
            Limit(
                {"strength": 0.0},
                loss_of(
                    objectives.pairwise(objectives.log_ratio(), objectives.logistic()),
                    "steps.logp.guide",
                    "steps.logp.old",
                ),
                "log_ratio",
            ),
        ),
    ),
    built(
        scored(objectives.desensitised_log_ratio),
        effects={"alpha": 0.1, "of": "guide", "to": "old"},
        function=objectives.desensitised_log_ratio,
        moves=(Move(LOGS, 0.0),),
        limits=(
            Limit(
                {"alpha": 1.0},
                loss_of(
                    objectives.pairwise(objectives.log_ratio(), objectives.logistic()),
                    "steps.logp.guide",
                    "steps.logp.old",
                ),
                "log_ratio",
            ),
        ),
    ),
    along(
        shaping.implicit_credit,
        RATIO,
        differentiable=(),
        degrees=(Degree(("log_ratio",), 1.0),),
        effects={"beta": 0.2, "clip": 0.1},
    ),
]
