"""What the power report runs: one function an experiment, each ``(arm, config, seed, smoke) -> metrics``."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from guerdon.batch import Seed
from guerdon.lab import finite as fin
from guerdon.lab.frontier import frontier_metrics
from guerdon.lab.protocol import Claim, Experiment, run_experiment, verdict
from guerdon.lab.text_gold import language as words
from guerdon.lab.text_gold.pairs import Annotator
from guerdon.lab.text_gold.recipes import best_of_n, online, preference, supervised
from guerdon.lab.text_gold.testbed import HARSH, Bed, Condition, build, evaluate
from guerdon.objectives import dpo, sft
from guerdon.training.recipe import Every, Recipe, Round
from guerdon.training.run import run

Config = Mapping[str, Any]
NS = (1, 4, 16, 64, 256, 1024)
COEFFICIENTS = (8.0, 4.0, 2.0, 1.0, 0.5, 0.25, 0.125)
KL_LIMIT = 2.0
PLANTED_DELTA = 0.05


def _small(smoke: bool, condition: Condition) -> Condition:
    return Condition(
        condition.annotator,
        condition.from_policy,
        condition.members,
        demonstrations=500 if smoke else condition.demonstrations,
        warm_up_steps=40 if smoke else condition.warm_up_steps,
    )


def _trained(bed: Bed, recipe: Recipe) -> dict[str, float]:
    run(recipe)
    return evaluate(bed, recipe.world, recipe.snapshots, rows=1024)


def hump(arm: str, config: Config, seed: int, smoke: bool) -> dict[str, float]:
    """(a) Gold of the best of n by a proxy from few pairs: 'gold@n' and 'proxy@n'."""
    bed = build(seed, _small(smoke, Condition(Annotator(config["pairs"], config["flips"], config["length"]))))
    curve = best_of_n(bed, NS[:4] if smoke else NS, rows=64 if smoke else 1024)
    return {f"{what}@{n}": values[i] for n, values in curve.items() for i, what in enumerate(("gold", "proxy"))}


def baselines(arm: str, config: Config, seed: int, smoke: bool) -> dict[str, float]:
    """(b) Held-out gold of 'start' (the warm-started policy), of 'sft' (on the chosen side) and 'dpo' on the same clean
    pairs, and of 'rloo' on a proxy fitted to them."""
    bed = build(seed, _small(smoke, Condition(Annotator(2000, 0.0))))
    epochs = 0.2 if smoke else 3.0
    if arm == "start":
        return evaluate(bed, *bed.fresh(), rows=1024)
    if arm == "sft":
        return _trained(bed, supervised(bed, config["lr"], epochs))
    if arm == "dpo":
        return _trained(bed, preference(bed, 0.1, config["lr"], epochs))
    return _trained(bed, online(bed, bed.proxy.reward(), 0.1, config["lr"], rounds=4 if smoke else 80))


def planted_text(arm: str, config: Config, seed: int, smoke: bool) -> dict[str, float]:
    """(c) DPO on noisy pairs ('dpo'), on clean labels of the same samples ('clean labels': truly better), and the very
    same method visiting the pairs in another order ('placebo')."""
    flips = 0.0 if arm == "clean labels" else 0.25
    bed = build(seed, _small(smoke, Condition(Annotator(2000, flips))))
    key = "placebo" if arm == "placebo" else "dpo"
    return _trained(bed, preference(bed, 0.1, 3e-4, 0.2 if smoke else 1.5, key=key))


def planted_finite(arm: str, config: Config, seed: int, smoke: bool) -> dict[str, float]:
    """(c) Share of the attainable gold area up to KL 2 that a reward fitted to 300 noisy pairs buys: arm 'better'
    reads labels with fewer flips, 'baseline' and 'placebo' are one method on draws of their own."""
    key = Seed(seed).child("power")
    bed = fin.finite(key)
    flips = config["flips"] if arm == "better" else 0.25
    pairs = fin.compare(bed, 300, key.child(arm), flip=flips)
    return {"share": share(bed, fin.fit_reward(bed, pairs, config["ridge"]))}


def share(bed: fin.Finite, reward: fin.Tensor) -> float:
    """Gold area above the start that optimising ``reward`` gives, as a share of what optimising gold gives."""
    start = bed.start
    got = frontier_metrics(fin.frontier(bed, reward, COEFFICIENTS), start, KL_LIMIT)["area"]
    best = frontier_metrics(fin.frontier(bed, bed.gold, COEFFICIENTS), start, KL_LIMIT)["area"]
    return (got - start) / (best - start)


def finite_objectives(arm: str, config: Config, seed: int, smoke: bool) -> dict[str, float]:
    """(b) On finite: DPO against supervised training on the chosen side, 300 pairs, exact gold."""
    key = Seed(seed).child("objectives")
    bed = fin.finite(key)
    pairs = fin.compare(bed, 300, key)
    objective = sft("winner") if arm == "sft" else dpo(0.3)
    recipe = fin.offline(bed, pairs, objective, config["lr"], 5 if smoke else 60)
    run(recipe)
    return fin.evaluate(bed, recipe.snapshots)


def rates(arm: str, config: Config, seed: int, smoke: bool) -> dict[str, float]:
    """(c) One whole draw of the protocol on finite, search and all, for the planted method and for the placebo."""
    out: dict[str, float] = {}
    for method in ("better", "placebo"):
        first = 100 * (seed + 1)
        experiment = Experiment(
            "draw",
            Claim("effect", "share", baseline="baseline", smallest_effect=PLANTED_DELTA),
            "guerdon.lab.power_runs:planted_finite",
            method,
            {"ridge": [0.3, 1.0, 3.0]},
            {"better": {"flips": 0.0}},
            (first + 90, first + 91),
            tuple(range(first, first + 8)),
            sources=(),
        )
        with tempfile.TemporaryDirectory() as folder:
            found = verdict(run_experiment(experiment, Path(folder), processes=1, progress=False))
        for status in ("reproduced", "not reproduced", "inconclusive"):
            out[f"{method}: {status}"] = float(found.status == status)
        out[f"{method}: estimate"] = found.interval.estimate if found.interval else float("nan")
    return out


KNOBS: Mapping[str, Annotator] = {
    "default": Annotator(1000, 0.0),
    "noise": Annotator(1000, 0.4),
    "length": Annotator(1000, 0.0, length=1.0),
    "coverage": Annotator(1000, 0.0, coverage=0.1),
}


def knobs(arm: str, config: Config, seed: int, smoke: bool) -> dict[str, float]:
    """(d) Gold of the best of 64 by a proxy, for the default annotator and with one knob turned."""
    bed = build(seed, _small(smoke, Condition(KNOBS[config["knob"]])))
    return {"gold": best_of_n(bed, (64,), rows=128 if smoke else 512)[64][0]}


def knobs_finite(arm: str, config: Config, seed: int, smoke: bool) -> dict[str, float]:
    """(d) The same on finite: share of the attainable gold area."""
    key = Seed(seed).child("knobs")
    bed = fin.finite(key)
    settings = {
        "default": {},
        "noise": {"flip": 0.45},
        "length": {"length": 2.0},
        "coverage": {"coverage": 0.03},
    }[config["knob"]]
    return {"share": share(bed, fin.fit_reward(bed, fin.compare(bed, 300, key, **settings)))}


def overoptimisation(arm: str, config: Config, seed: int, smoke: bool) -> dict[str, float]:
    """(e) RLOO on a proxy without KL: gold, proxy and KL on held-out prompts every 10 rounds ('gold@10' …)."""
    bed = build(seed, _small(smoke, HARSH))
    recipe = online(bed, bed.proxy.reward(), kl=0.0, rounds=4 if smoke else 80)
    found: dict[str, float] = {}

    def look(at: int) -> Mapping[str, float]:
        seen = evaluate(bed, recipe.world, recipe.snapshots, words.HELD_OUT, 24 if smoke else 480)
        found.update({f"{k}@{at}": v for k, v in seen.items()})
        return seen

    def after(round: Round) -> Mapping[str, float]:
        return look(round.round)

    look(0)
    run(recipe.with_(evals=(Every(2 if smoke else 10, after),)))
    return found
