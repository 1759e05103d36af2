"""What the entries that also run on text/gold measure there, where a response is a sequence of tokens: gold over KL to
the start on held-out prompts, along one training."""

from collections.abc import Mapping
from typing import Any

import torch

from guerdon.batch import Steps
from guerdon.catalogue.method import REPORTING
from guerdon.lab.frontier import frontier_metrics
from guerdon.lab.protocol import Claim, Experiment
from guerdon.lab.text_gold import language as words
from guerdon.lab.text_gold.pairs import Annotator
from guerdon.lab.text_gold.policy import SAMPLING
from guerdon.lab.text_gold.recipes import offline
from guerdon.lab.text_gold.testbed import Bed, Condition, build, sample
from guerdon.objectives import dpo, dpo_shift
from guerdon.reduce import total
from guerdon.training.builds import best_worst
from guerdon.training.methods import find
from guerdon.training.optim import Optim
from guerdon.training.recipe import Every, Recipe, Round
from guerdon.training.run import run
from guerdon.training.self_rewarding import PREVIOUS, ROUND, self_labelled
from guerdon.training.sources import Prompts
from guerdon.worlds import Frozen, Snapshots
from guerdon.worlds.text import TextWorld

START = "start"
CLEAN, NOISY = Annotator(pairs=1000, flips=0.0), Annotator(pairs=1000, flips=0.25)
LOOKS, ROWS, SIDES = 8, 384, 256
"""Looks along a run, responses drawn at each, and pairs whose sides are followed."""
SOURCES = (
    "guerdon.objectives.pairwise",
    "guerdon.objectives.scores",
    "guerdon.objectives.terms",
    "guerdon.lab.text_gold",
    "guerdon.lab.frontier",
)


def bed_of(seed: int, annotator: Annotator, smoke: bool) -> Bed:
    """The testbed; a hardly trained one with few pairs for a smoke run."""
    if smoke:
        return build(seed, Condition(Annotator(64, annotator.flips), members=0, demonstrations=256, warm_up_steps=10))
    return build(seed, Condition(annotator, members=0))


def started(bed: Bed, **rules: Any) -> tuple[TextWorld, Snapshots]:
    """The start policy with these snapshots, and itself as 'start'."""
    world, _ = bed.fresh()
    return world, Snapshots(world.model, **{"start": Frozen(), **rules})


@torch.no_grad()
def measured(bed: Bed, recipe: Recipe, rows: int) -> dict[str, float]:
    """Of the policy as it is: gold, KL to the start (nats a response, exact at every sampled step) and length on
    held-out prompts; mean log-ratio to the start (nats a response) of both sides of the testbed's pairs."""
    world, policy = recipe.world, recipe.snapshots
    samples = sample(bed, world, policy, words.HELD_OUT, max(1, rows // len(words.HELD_OUT)), "final")
    steps = world.rescore(policy, samples, (), (f"kl:{START}",))
    assert isinstance(steps, Steps)
    drawn = words.rows_of(samples)
    found = {
        "gold": float(words.gold(drawn).mean()),
        "kl": float(total(steps.stat(f"kl:{START}"), steps.mask).mean()),
        "length": float(words.attributes(drawn)["length"].mean()),
    }
    for name, side in (("chosen", bed.pairs.pairs.winner), ("rejected", bed.pairs.pairs.loser)):
        recorded = world.rescore(policy, bed.pairs.samples.take(side[:SIDES]), ("policy", START))
        assert isinstance(recorded, Steps)
        found[name] = float(total(recorded.log_ratio("policy", START), recorded.mask).mean())
    return found


def along(bed: Bed, recipe: Recipe, limit: float, smoke: bool) -> Mapping[str, float]:
    """Run it and look ``LOOKS`` times on the way.

    Gives the frontier of gold ('area', 'gold_at_limit', 'reach'), 'chosen' and 'rejected' as means over KL in [0,
    limit] nats, '<name> last' of all that is measured, and 'start', gold before.
    """
    rows = 24 if smoke else ROWS
    recipe = recipe.with_(rounds=3) if smoke else recipe
    seen = [measured(bed, recipe, rows)]

    def look(_: Round) -> Mapping[str, float]:
        seen.append(measured(bed, recipe, rows))
        return {}

    run(recipe.with_(evals=(Every(max(1, recipe.rounds // LOOKS), look),)))
    line = {k: [(max(0.0, p["kl"]), p[k]) for p in seen] for k in ("gold", "chosen", "rejected")}
    start = gold_before(bed, rows)
    sides = {k: frontier_metrics(line[k], 0.0, limit)["area"] for k in ("chosen", "rejected")}
    last = {f"{k} last": v for k, v in seen[-1].items()}
    return {**frontier_metrics(line["gold"], start, limit), **sides, **last, "start": start}


def gold_before(bed: Bed, rows: int) -> float:
    """Gold of the start policy, by the draws that every look uses."""
    world, snapshots = bed.fresh()
    drawn = sample(bed, world, snapshots, words.HELD_OUT, max(1, rows // len(words.HELD_OUT)), "final")
    return float(words.gold(words.rows_of(drawn)).mean())


def online(
    bed: Bed, method: str, hyper: Mapping[str, Any], lr: float, rounds: int, prompts: int = 16, **fields: Any
) -> Recipe:
    """A method's preset on the testbed's training prompts, gold as the reward, Adam, one update a batch."""
    preset = find(method)
    world, snapshots = started(bed, **preset.called(preset.rules, preset.settings(hyper), rounds))
    seed = bed.seed.child("on_text")
    source = Prompts(words.TRAINING, prompts, seed.child("prompts"))
    optim = Optim(lr=lr, kind="adam", betas=(0.9, 0.99), warmup=5)
    given = {"reward": words.gold_reward(), "sampling": SAMPLING, "optim": optim, "seed": seed, **fields}
    return preset.recipe(world, snapshots, source, rounds, hyper, **given)


def dpo_shift_on_text(arm: str, config: Mapping[str, Any], seed: int, smoke: bool) -> Mapping[str, float]:
    """What becomes of the chosen responses over KL, four epochs on the same pairs; config['f'] is the factor, 1 for
    DPO."""
    bed = bed_of(seed, CLEAN, smoke)
    made = offline(bed, dpo() if arm == "dpo" else dpo_shift(0.1, config["f"]), config["lr"], 4)
    world, snapshots = started(bed, reference=Frozen())
    return along(bed, made.with_(world=world, snapshots=snapshots), 2.0, smoke)


def sppo_on_text(arm: str, config: Mapping[str, Any], seed: int, smoke: bool) -> Mapping[str, float]:
    """SPPO and iterative DPO on the same pairs of five draws of the policy of the iteration before, judged by
    Bradley–Terry on gold; config['strength'] picks the weaker or stronger η or β."""
    bed, k = bed_of(seed, CLEAN, smoke), config["strength"]
    made = online(bed, "sppo", {"eta": (4.0, 16.0)[k]}, config["lr"], 60)
    return along(bed, made if arm == "sppo" else made.with_(objective=dpo((0.3, 0.1)[k])), 4.0, smoke)


def selm_on_text(arm: str, config: Mapping[str, Any], seed: int, smoke: bool) -> Mapping[str, float]:
    """SELM and iterative DPO on as many labels: three draws a prompt, one of SELM's from the iteration before."""
    bed = bed_of(seed, CLEAN, smoke)
    made = online(bed, "selm", {"beta": 0.1, "alpha": config["alpha"]}, config["lr"], 60)
    if arm == "iterative dpo":
        made = made.with_(objective=dpo(), build=best_worst(), beside={}, per_start=3)
    return along(bed, made, 4.0, smoke)


def cream_on_text(arm: str, config: Mapping[str, Any], seed: int, smoke: bool) -> Mapping[str, float]:
    """Three self-rewarding rounds from a policy that an epoch of DPO on noisy labels gave."""
    bed = bed_of(seed, NOISY, smoke)
    first = offline(bed, dpo(), epochs=1.0)
    run(first.with_(rounds=1) if smoke else first)
    world, snapshots = first.world, first.snapshots
    assert isinstance(snapshots, Snapshots) and isinstance(world, TextWorld)
    for name in (ROUND, PREVIOUS):
        snapshots.add(name, Frozen())
    snapshots.put(PREVIOUS, snapshots.parameters("reference"))
    snapshots.add(START, Frozen())
    snapshots.put(START, snapshots.parameters("reference"))
    made = online(bed, "cream", {"average": config["average"]}, config["lr"], 48, reward=None)
    made = made.with_(world=world, snapshots=snapshots)
    if arm == "self-rewarding":
        made = made.with_(build=self_labelled(None, config["average"]))
    return along(bed, made, 4.0, smoke)


def experiment(
    slug: str,
    claim: Claim,
    method: str,
    grid: Mapping[str, Any],
    sources: tuple[str, ...],
    budget: str,
) -> Experiment:
    """The experiment '<slug>-text' of this module's function."""
    return Experiment(
        f"{slug}-text",
        claim,
        f"{__name__}:{slug.replace('-', '_')}_on_text",
        method,
        grid,
        reporting_seeds=REPORTING,
        sources=(*sources, *SOURCES),
        budget=budget,
    )


def gold_claim(baseline: str, called: str) -> Claim:
    """More gold than the baseline, ``called`` so in words, at equal KL to the start, by at least 0.1."""
    what = f"More gold than {called} at equal KL to the start (mean over KL up to 4 nats) on text/gold"
    return Claim("effect", "area", baseline=baseline, smallest_effect=0.1, statement=what)


DPO_SHIFT = experiment(
    "dpo-shift",
    Claim(
        "effect",
        "chosen",
        baseline="dpo",
        smallest_effect=0.1,
        statement=(
            "Chosen responses keep a higher log-ratio than under DPO at equal KL on text/gold (mean over KL up to 2 "
            "nats, in nats a response)"
        ),
    ),
    "dpo-shift",
    {"lr": (3e-4, 1e-3), "f": (0.95, 0.8)},
    ("guerdon.objectives.shift",),
    "1,000 pairs, 4 epochs, looked at 8 times; 2 learning rates and 2 values of f searched for each arm",
)
SPPO = experiment(
    "sppo",
    gold_claim("iterative dpo", "iterative DPO"),
    "sppo",
    {"lr": (3e-4, 1e-3), "strength": (0, 1)},
    ("guerdon.objectives.selfplay", "guerdon.training.duels", "guerdon.training.selfplay"),
    "60 rounds of 16 prompts × 5 draws, 3 iterations; 2 learning rates and 2 strengths searched for each arm",
)
SELM = experiment(
    "selm",
    gold_claim("iterative dpo", "iterative DPO"),
    "selm",
    {"lr": (3e-4, 1e-3), "alpha": (0.01, 0.1)},
    ("guerdon.objectives.optimism", "guerdon.training.builds", "guerdon.training.drawing"),
    "60 rounds of 16 prompts × 3 draws, 3 iterations; 2 learning rates and 2 values of α searched for each arm",
)
CREAM = experiment(
    "cream",
    gold_claim("self-rewarding", "self-rewarding"),
    "cream",
    {"lr": (1e-4, 3e-4), "average": (True, False)},
    ("guerdon.objectives.cream", "guerdon.training.self_rewarding", "guerdon.training.prompt_lists", "guerdon.reduce"),
    "an epoch of DPO on 1,000 pairs, a quarter mislabelled, then 3 rounds of 16 updates on 16 prompts × 5 draws; 2 "
    "learning rates, lowered after a pilot on tuning seed 1000, and both ways of averaging searched for each arm",
)
