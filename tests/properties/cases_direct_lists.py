"""Cases of guerdon.objectives.listwise: the loss of lists, and the likelihood of rankings in it."""

from __future__ import annotations

from guerdon import objectives
from guerdon.checks import Move
from tests.properties.cases_direct_data import ranked
from tests.properties.cases_objectives import LOGS, built

PLAIN = {"score": objectives.log_ratio(), "loss": objectives.plackett_luce()}
SHIFTED = (Move(LOGS, 0.0),)

CASES = [
    built(
        objectives.listwise,
        PLAIN,
        {
            "score": objectives.mean_log_ratio(),
            "loss": objectives.plackett_luce(top=1),
            "least": 3,
        },
        moves=SHIFTED,
    ),
    built(
        ranked(objectives.plackett_luce),
        {},
        {"top": 1},
        name="objectives.plackett_luce",
        function=objectives.plackett_luce,
        moves=SHIFTED,
    ),
]
