"""Cases of guerdon.objectives.ranked, modpo, degree and rso."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from guerdon import objectives
from guerdon.batch import Lists
from guerdon.checks import Limit, Move
from guerdon.objectives import Objective
from guerdon.objectives.modpo import likelihood
from tests.properties.cases_objectives import BATCH as WHOLE
from tests.properties.cases_objectives import LOGS, built, loss_of
from tests.properties.examples import ROWS, SPANS, STEPS, real, unit

VALUES = {f"value:degree{j}": real(ROWS, STEPS, seed=30 + j) for j in range(5)} | {
    f"value:other{j}": real(ROWS, STEPS, seed=40 + j) for j in range(4)
}
"""Values in [0, 1], as the losses of rankings take them, and columns as degrees; steps, their embeddings, scores."""
BATCH = replace(
    WHOLE,
    steps=replace(
        WHOLE.steps, stats={**WHOLE.steps.stats, **VALUES}, spans={"step": SPANS, "turn": SPANS.clamp(max=0)}
    ),
    lists=Lists(WHOLE.lists.rows, unit(3, 4, seed=21), unit(3, seed=22)),
    columns={
        "step_embeddings": list(real(ROWS, 4, 3, seed=42)),
        "score": unit(ROWS, seed=43).tolist(),
        "length": unit(ROWS, seed=44).tolist(),
    },
)


made = partial(built, batch=BATCH)


def ranked(loss: Callable[..., objectives.ListLoss]) -> Callable[..., Objective]:
    """A list loss on log-ratios."""
    return lambda **options: objectives.listwise(objectives.log_ratio(), loss(**options))


HEADS = tuple(f"steps.stats.value:degree{j}" for j in range(4))
IN_LOGS = {"moves": (Move(LOGS, 0.0),)}
WITHOUT_MARGINS = objectives.pairwise(objectives.scaled(0.1, objectives.log_ratio()), likelihood)
SECOND = ((0.5, objectives.log_ratio("guide")),)

CASES = [
    made(objectives.dpo_ranking, effects={"beta": 0.7, "top": 1}, **IN_LOGS),
    made(objectives.lipo, effects={"beta": 0.7, "kind": "softmax", "rescale": True}, **IN_LOGS),
    made(ranked(objectives.lambda_loss), effects={"rescale": True}, function=objectives.lambda_loss, **IN_LOGS),
    made(ranked(objectives.softmax), effects={"rescale": True}, function=objectives.softmax, **IN_LOGS),
    made(
        objectives.tpo_tree,
        effects={"beta": 0.7, "adaptive": False, "rescale": True, "spans": "turn"},
        limits=(Limit({"adaptive": False, "beta": 0.05}, loss_of(objectives.lipo(), batch=BATCH), "lipo"),),
        **IN_LOGS,
    ),
    made(
        objectives.modpo,
        effects={"beta": 0.7, "weight": 0.2, "others": SECOND},
        limits=(Limit({"weight": 1.0}, loss_of(WITHOUT_MARGINS, "steps.logp.guide", batch=BATCH), "dpo"),),
        **IN_LOGS,
    ),
    made(
        lambda name="score": objectives.pairwise(objectives.column(name), objectives.hinge()),
        effects={"name": "length"},
        function=objectives.column,
    ),
    made(
        objectives.degree_loss,
        effects={"degrees": 4, "kind": "order", "head": "other"},
        moves=(Move(HEADS, 0.0),),
    ),
    made(
        objectives.degree_loss,
        {"kind": "order"},
        {"margin": 0.1},
        moves=(Move(HEADS[:1], 0.0),),
    ),
    made(objectives.spo_degree, effects={"beta": 0.7, "gamma": 2.0, "degrees": 4, "kind": "order"}, **IN_LOGS),
    built(
        objectives.rso,
        effects={"beta": 0.7, "link": "hinge-norm"},
        limits=(Limit({"beta": 0.1}, loss_of(objectives.dpo()), "dpo"),),
        **IN_LOGS,
    ),
]
