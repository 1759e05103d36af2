"""Cases of guerdon.objectives.selfplay."""

from __future__ import annotations

from dataclasses import replace

from guerdon import objectives
from guerdon.batch import Batch
from guerdon.checks import Limit
from tests.properties.cases_objectives import BATCH, PAIRED, built, loss_of
from tests.properties.examples import ROWS, unit

# Lists: win rates are data of the batch, not inputs to be moved.
RATED: Batch = replace(BATCH, columns={"win_rate": unit(ROWS, seed=21).tolist(), "z": unit(ROWS, seed=22).tolist()})


CASES = [
    built(objectives.sppo, effects={"eta": 3.0, "log_z": "z", "to": "old"}, batch=RATED, moves=PAIRED),
    built(objectives.sppo_hard, effects={"eta": 3.0}, moves=PAIRED),
    built(objectives.sppo_single, effects={"eta": 3.0}, moves=PAIRED),
    built(
        objectives.dno,
        effects={"eta": 0.7},
        moves=PAIRED,
        limits=(Limit({}, loss_of(objectives.dpo(0.1)), "dpo"),),
    ),
]
