"""Cases of guerdon.objectives.optimism and guerdon.objectives.shift."""

from __future__ import annotations

from typing import Any

from guerdon import objectives
from guerdon.checks import Degree, Limit
from guerdon.objectives import Objective
from tests.properties.cases_objectives import LOGS, PAIRED, built, loss_of


def sided(**options: Any) -> Objective:
    """Strengths as the side of a pairwise loss."""
    return objectives.pairwise(objectives.log_ratio(), objectives.logistic(), objectives.strengths(**options))


DPO = loss_of(objectives.dpo(0.1))

CASES = [
    built(
        objectives.relative_expectation,
        effects={"sign": -1.0, "rows": "mismatched", "floor": 0.05, "of": "guide", "to": "old"},
        moves=PAIRED,
        degrees=(Degree(LOGS, 1.0),),
    ),
    built(
        objectives.vpo,
        effects={"beta": 0.7, "alpha": 0.5, "sign": 1.0, "rows": "mismatched", "floor": 0.05},
        moves=PAIRED,
        limits=(Limit({"alpha": 0.0}, DPO, "dpo"),),
    ),
    built(
        objectives.selm,
        {"rows": "mismatched", "beta": 0.1, "alpha": 0.5},
        {"beta": 0.7, "alpha": 5.0, "rows": "chosen", "floor": 0.0},
        moves=PAIRED,
        limits=(
            Limit({"beta": 0.1, "alpha": 0.0}, DPO, "dpo"),
            Limit({"alpha": 0.5, "beta": 0.2}, loss_of(objectives.vpo(0.2, 0.5, 1.0, "mismatched")), "optimistic vpo"),
        ),
    ),
    built(
        objectives.xpo,
        {"rows": "mismatched", "alpha": 0.5},
        {"beta": 0.7, "alpha": 5.0, "rows": "chosen"},
        limits=(Limit({"alpha": 0.0}, DPO, "dpo"),),
    ),
    built(
        objectives.rpo,
        {"eta": 0.5},
        {"beta": 0.7, "eta": 2.0, "per": "average", "scaled": False},
        limits=(Limit({"beta": 0.1, "eta": 0.0}, DPO, "dpo"),),
    ),
    built(
        objectives.sft_dpo,
        {"gamma": 0.5},
        {"beta": 0.7, "gamma": 2.0},
        limits=(Limit({"gamma": 0.0}, DPO, "dpo"),),
    ),
    built(
        objectives.flex_dpo,
        effects={"chosen": 0.7, "rejected": 0.01, "smoothing": 0.2},
        moves=PAIRED,
        limits=(Limit({"rejected": 0.1}, DPO, "dpo"),),
    ),
    built(
        objectives.dpo_shift,
        {"beta": 0.1},
        {"beta": 0.7, "shift": 0.1, "smoothing": 0.2},
        moves=PAIRED,
        limits=(
            Limit({"shift": 1.0}, DPO, "dpo"),
            Limit({"shift": 0.5}, loss_of(objectives.flex_dpo(0.1, 0.05)), "flex_dpo"),
        ),
    ),
    built(
        sided,
        {"chosen": 1.0, "rejected": 0.5},
        {"chosen": 2.0, "rejected": 0.1},
        function=objectives.strengths,
        moves=PAIRED,
    ),
]
