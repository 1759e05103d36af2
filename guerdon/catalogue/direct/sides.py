"""Exact frontiers over the length of training, with what became of both sides of the pairs."""

from collections.abc import Mapping

import torch

from guerdon.batch import Seed
from guerdon.catalogue.direct.exact import Annotator
from guerdon.lab import finite as lab
from guerdon.lab.frontier import frontier_metrics
from guerdon.objectives import Objective
from guerdon.training.recipe import Every, Round
from guerdon.training.run import run
from guerdon.worlds import only

MEASURED = ("gold", "chosen", "rejected", "accuracy")


def side_frontier(
    objective: Objective,
    seed: int,
    limit: float,
    annotator: Annotator,
    lr: float = 0.02,
    rounds: int = 80,
    smoke: bool = False,
) -> Mapping[str, float]:
    """Train one objective on one testbed's pairs and look at every second round: exact KL and gold, and the mean
    log-ratio ρ of both sides of the pairs.

    Gives 'gold', 'chosen', 'rejected' and 'accuracy' (share of pairs with ρ_w > ρ_l) as means over KL in [0, limit]
    nats, '<name> last' after the last round, 'reach' (largest KL), and 'start', gold before.
    """
    key = Seed(seed).child("catalogue")
    bed = lab.finite(key, prompts=4, responses=16) if smoke else lab.finite(key)
    compared = lab.compare(
        bed, 32 if smoke else annotator.pairs, key, annotator.flip, annotator.length, annotator.coverage
    )
    seen: list[dict[str, float]] = []

    def look(here: Round) -> Mapping[str, float]:
        found = lab.evaluate(bed, here.snapshots)
        with torch.no_grad(), only(here.snapshots).using("policy") as module:
            ratio = module().log_softmax(-1) - bed.reference
        up, down = (ratio[compared.prompt, side] for side in (compared.winner, compared.loser))
        right = (up > down).float().mean()
        seen.append({**found, "chosen": float(up.mean()), "rejected": float(down.mean()), "accuracy": float(right)})
        return {}

    recipe = lab.offline(bed, compared, objective, lr, 8 if smoke else rounds)
    run(recipe.with_(evals=(Every(2, look),)))
    begin = {"gold": bed.start, "chosen": 0.0, "rejected": 0.0, "accuracy": 0.5}
    points = {name: [(max(0.0, s["kl"]), s[name]) for s in seen] for name in MEASURED}
    areas = {name: frontier_metrics(line, begin[name], limit)["area"] for name, line in points.items()}
    last = {f"{name} last": seen[-1][name] for name in (*MEASURED, "kl")}
    return {**areas, **last, "reach": max(s["kl"] for s in seen), "start": bed.start}
