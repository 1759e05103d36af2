"""Cases of the objectives that analyses brought."""

from __future__ import annotations

from guerdon import objectives
from guerdon.checks import Limit
from tests.properties.cases_objectives import PAIRED, built, loss_of, scored

CASES = [
    built(
        objectives.dpo_gamma,
        effects={"beta": 0.7, "gamma": 0.0},
        limits=(Limit({"gamma": 1.0}, loss_of(objectives.dpo(0.1)), "dpo"),),
    ),
    built(
        lambda: objectives.dpo_gamma(gamma=1.0),
        name="objectives.dpo_gamma[1]",
        function=objectives.dpo_gamma,
        moves=PAIRED,
    ),
    built(
        scored(objectives.modulated_log_ratio),
        {"gamma": 0.5},
        {"gamma": 2.0, "to": "old", "of": "guide"},
        function=objectives.modulated_log_ratio,
    ),
]
