"""Cases of guerdon.objectives.selfplay."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from guerdon import objectives
from guerdon.batch import Batch
from guerdon.checks import Case, Limit
from guerdon.checks.objective import objective_case
from guerdon.objectives import Objective
from tests.properties.cases_objectives import BATCH, PAIRED, built, loss_of
from tests.properties.examples import ROWS, unit

# Lists: win rates are data of the batch, not inputs to be moved.
RATED: Batch = replace(BATCH, columns={"win_rate": unit(ROWS, seed=21).tolist(), "z": unit(ROWS, seed=22).tolist()})


def rated(build: Callable[..., Objective], effects: Mapping[str, Any], **roles: Any) -> Case:
    """As ``built``, on rows with win rates."""
    others = [build(**{k: v}) for k, v in effects.items()]
    also = tuple(p for p in dict.fromkeys(p for o in others for p in o.needs) if p.startswith("steps."))
    case = objective_case(build(), RATED, also=also, **roles)

    def call(**given: Any) -> Any:
        chosen = {k: given.pop(k) for k in list(given) if k not in case.inputs}
        return objective_case(build(**chosen), RATED, also=also).call(**given)

    return replace(case, name=f"objectives.{build.__name__}", call=call, effects=effects, function=build)


CASES = [
    rated(objectives.sppo, {"eta": 3.0, "log_z": "z", "to": "old"}, moves=PAIRED),
    built(objectives.sppo_hard, effects={"eta": 3.0}, moves=PAIRED),
    built(objectives.sppo_single, effects={"eta": 3.0}, moves=PAIRED),
    built(
        objectives.dno,
        effects={"eta": 0.7},
        moves=PAIRED,
        limits=(Limit({}, loss_of(objectives.dpo(0.1)), "dpo"),),
    ),
]
