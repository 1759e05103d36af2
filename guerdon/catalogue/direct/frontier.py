"""What the entries of this family measure: gold against KL of offline objectives on text/gold, on held-out prompts."""

from collections.abc import Mapping, Sequence

from guerdon.lab.frontier import frontier_metrics
from guerdon.lab.text_gold.pairs import Annotator
from guerdon.lab.text_gold.recipes import offline
from guerdon.lab.text_gold.testbed import Condition, build, evaluate
from guerdon.objectives import Objective
from guerdon.training.run import run

CLEAN = Annotator(pairs=1000, flips=0.0)
SMOKE = 64


def offline_frontier(
    recipes: Sequence[tuple[Objective, float]],
    lr: float,
    seed: int,
    limit: float,
    annotator: Annotator = CLEAN,
    smoke: bool = False,
) -> Mapping[str, float]:
    """Train every (objective, epochs) on one testbed's pairs and read the frontier of their (KL, gold) on held-out
    prompts.

    Gives 'area' (mean gold over KL in [0, limit]), 'gold_at_limit', 'reach', and means over the points of length, KL
    and gold; 'start'
    is gold before training. A smoke run uses a hardly trained testbed and one epoch.
    """
    if smoke:
        annotator = Annotator(pairs=SMOKE, flips=annotator.flips, length=annotator.length)
    full = Condition(annotator, members=0)
    bed = build(seed, Condition(annotator, members=0, demonstrations=256, warm_up_steps=10) if smoke else full)
    rows = 48 if smoke else 768
    world, snapshots = bed.fresh()
    before = evaluate(bed, world, snapshots, rows=rows)
    points = []
    for objective, epochs in recipes[:3] if smoke else recipes:
        recipe = offline(bed, objective, lr, 1.0 if smoke else epochs)
        run(recipe)
        points.append(evaluate(bed, recipe.world, recipe.snapshots, rows=rows))
    found = frontier_metrics([(p["kl"], p["gold"]) for p in points], before["gold"], limit)
    means = {f"mean_{k}": sum(p[k] for p in points) / len(points) for k in ("length", "kl", "gold", "distinct")}
    return {**found, **means, "start": before["gold"], "start_length": before["length"]}
