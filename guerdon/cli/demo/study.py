"""One seed of the demo: preferences, an ensemble of reward models, five ways of aligning a tiny policy to them."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from guerdon.audit import audit_preferences
from guerdon.batch import Pairs, Preference, Samples, Steps
from guerdon.data import read_preferences, split_preferences, write_preferences
from guerdon.lab.text_gold import HELD_OUT, TRAINING, gold
from guerdon.lab.text_gold.language import attributes, rows_of
from guerdon.lab.text_gold.pairs import Annotator, GoldPairs
from guerdon.lab.text_gold.policy import SAMPLING
from guerdon.lab.text_gold.proxy import Proxy, proxy_model, standardised
from guerdon.lab.text_gold.recipes import online, preference
from guerdon.lab.text_gold.testbed import Bed, Condition, build
from guerdon.reduce import total
from guerdon.rewards import Context, Reward
from guerdon.rewards.models import ScalarRewardModel
from guerdon.shaping import mean_minus_std, relative
from guerdon.training import Every, Recipe, Round, run
from guerdon.training.reward_models import fit_scalar_model
from guerdon.verbs.folder import write_json
from guerdon.verbs.preferences import stored as stored_audit
from guerdon.verbs.reward import judged
from guerdon.worlds import Actors, World

Say = Callable[..., None]
"""say(kind, amount=1, text=''): progress of one kind, or a line to print."""

DPO, RAW, PENALTY, PAR, PESSIMISTIC = "DPO", "raw reward", "raw reward − 0.1 KL", "PAR", "pessimistic ensemble"
ARMS = (DPO, RAW, PENALTY, PAR, PESSIMISTIC)


@dataclass(frozen=True)
class Size:
    """How much is done. pairs: comparisons drawn; held_out: of them, kept from training, by prompt."""

    seeds: int
    warm_up: int
    pairs: int
    held_out: float
    members: int
    rounds: int
    epochs: float
    shown: int = 6


FULL = Size(seeds=4, warm_up=400, pairs=2600, held_out=0.23, members=5, rounds=60, epochs=3)
FAST = Size(seeds=2, warm_up=80, pairs=320, held_out=0.25, members=2, rounds=10, epochs=1, shown=2)


def run_seed(seed: int, size: Size, folder: Path, first: bool, say: Say) -> dict[str, Any]:
    """Everything of one seed: {'arms': {name: curves}, 'held_out': {name: measures}}; the first seed also leaves its
    files.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # the standard deviation over no member
        bed = build(seed, Condition(Annotator(pairs=size.pairs, flips=0.25), members=0, warm_up_steps=size.warm_up))
    say("policies")
    bed, test = _preferences(bed, size, folder, first, say)
    bed = _reward_models(bed, test, size, folder, first, say)
    world, start = bed.fresh()
    ends = {"start": _held_out(bed, world, start)}
    spoken = {"start": _spoken(bed, world, start, size.shown)}
    curves = {}
    for arm in ARMS:
        recipe = _recipe(bed, arm, size)
        curves[arm] = _train(bed, recipe, arm, say)
        ends[arm] = _held_out(bed, recipe.world, recipe.snapshots)
        spoken[arm] = _spoken(bed, recipe.world, recipe.snapshots, size.shown)
    if first:
        write_json(folder / "samples.json", _samples(spoken))
    return {"seed": seed, "arms": curves, "held_out": ends}


def _preferences(bed: Bed, size: Size, folder: Path, first: bool, say: Say) -> tuple[Bed, Sequence[Preference]]:
    """Write the lab's comparisons to a file, read them back as anybody's, audit them, split them by prompt."""
    path = folder / f"preferences-{bed.seed.root}.jsonl"
    write_preferences(path, bed.pairs.records(), "explicit")
    # The policy sometimes says nothing; such records are counted by the audit and left out of training.
    every, report = read_preferences(path, strict_pairs=False)
    records, _ = read_preferences(path, on_error="skip")
    if first:
        found = audit_preferences(every, lambda text: len(text.split()), "words")
        write_json(folder / "audit.json", stored_audit(found, report))
        bias = found.length
        longer = f"; the chosen side is {bias.difference.estimate:+.2f} words longer" if bias else ""
        say("text", text=f"Preferences: {found.comparisons:,} comparisons on {found.prompts} prompts{longer}.")
    train, test = split_preferences(records, size.held_out, bed.seed.root)
    kept = torch.tensor([int(str(r.source).rpartition(":")[2]) - 1 for r in train])
    pairs = Pairs(bed.pairs.pairs.winner[kept], bed.pairs.pairs.loser[kept])
    return replace(bed, pairs=GoldPairs(bed.pairs.samples, pairs, bed.pairs.gold, bed.pairs.flipped[kept])), test


class Ensemble:
    """K models that were trained apart, as one text scorer."""

    def __init__(self, models: Sequence[ScalarRewardModel]) -> None:
        self.models = list(models)

    @property
    def members(self) -> int:
        """K."""
        return len(self.models)

    def score_texts(self, prompts: Sequence[Any], responses: Sequence[str]) -> Tensor:
        """Scores [N,K]."""
        return torch.cat([m.score_texts(prompts, responses) for m in self.models], 1)


def _reward_models(bed: Bed, test: Sequence[Preference], size: Size, folder: Path, first: bool, say: Say) -> Bed:
    """Fit the members, each from its own random weights; judge them on the prompts held out."""
    models = []
    for k in range(size.members):
        key = bed.seed.child("demo member", k)
        model, _ = fit_scalar_model(
            bed.pairs.records(),
            proxy_model(key),
            lr=3e-3,
            seed=key.child("fit"),
            progress=lambda *_: say("reward models"),
        )
        models.append(model.eval())
    if first:
        found = judged(Ensemble(models), test, 1.0, lambda text: len(text.split()), "words")
        write_json(folder / "evaluation.json", found)
        accuracy, lengths = found["report"]["accuracy"], found["length_only"]
        say("text", text=f"Reward model: held-out accuracy {_percent(accuracy)}, length alone {_percent(lengths)}.")
    world, start = bed.fresh()
    typical = world.sample(start, [p for p in TRAINING for _ in range(8)], 1, SAMPLING, bed.seed.child("standardise"))
    return replace(bed, proxy=standardised(models, rows_of(typical)))


def _percent(value: Mapping[str, Any]) -> str:
    return f"{100 * value['estimate']:.1f} % [{100 * value['low']:.1f}, {100 * value['high']:.1f}]"


def _recipe(bed: Bed, arm: str, size: Size) -> Recipe:
    """What an arm is: everything but the reward and the KL coefficient is shared."""
    if arm == DPO:
        return preference(bed, beta=0.1, epochs=size.epochs)
    single = bed.proxy.reward(0)
    kl = 0.1 if arm == PENALTY else 0.0
    reward: Reward = single
    if arm == PAR:
        world, start = bed.fresh()
        anchors = world.sample(start, TRAINING, 8, SAMPLING, bed.seed.child("anchors"))
        reward = relative(single, anchors)
    if arm == PESSIMISTIC:
        reward = bed.proxy.reward(None).combine(mean_minus_std(1.0))
    return online(bed, reward, kl, rounds=size.rounds)


def _yardstick(bed: Bed, arm: str) -> Reward:
    """The learned reward an arm climbs, before any shaping."""
    return bed.proxy.reward(None).combine(mean_minus_std(1.0)) if arm == PESSIMISTIC else bed.proxy.reward(0)


def _train(bed: Bed, recipe: Recipe, arm: str, say: Say) -> dict[str, list[float]]:
    """Train, and measure on the very samples of every round (DPO draws none, so fresh ones every few rounds)."""
    curves: dict[str, list[float]] = {}
    yardstick = _yardstick(bed, arm)

    def note(step: int, samples: Samples, steps: Steps) -> None:
        for name, value in {"step": step, **_measure(samples, steps, yardstick)}.items():
            curves.setdefault(name, []).append(float(value))

    def on_policy(now: Round) -> dict[str, float]:
        if now.rollout is not None and now.rollout.steps is not None:
            note(now.round, now.rollout.samples, now.rollout.steps)
        return {}

    def afresh(now: Round) -> dict[str, float]:
        samples = recipe.world.sample(recipe.snapshots, TRAINING, 2, SAMPLING, bed.seed.child("watch", now.round))
        note(now.round, samples, _distance(recipe.world, recipe.snapshots, samples))
        return {}

    if arm == DPO:
        watched = recipe.with_(evals=(Every(max(1, recipe.rounds // 20), afresh, "watch"),))
        afresh(Round(recipe, 0, 0))
    else:
        watched = recipe.with_(evals=(Every(1, on_policy, "watch"),), track=("steps.stats.kl:reference",))
    run(watched, on_metrics=lambda now: say("alignment", amount=1 / now.rounds))
    return curves


@torch.no_grad()
def _measure(samples: Samples, steps: Steps, yardstick: Reward) -> dict[str, float]:
    """gold and proxy (means), kl (nats a response), length (words), distinct (different pairs of adjacent words
    among all pairs in the answers, 1 where there is none)."""
    rows = rows_of(samples)
    scores, _ = yardstick.score(samples, yardstick.init(), Context(training=False))
    pairs = [pair for text in samples.texts() for pair in pairwise(text.split())]
    return {
        "gold": float(gold(rows).mean()),
        "proxy": float(scores.only().filled().mean()),
        "kl": float(total(steps.stat("kl:reference"), steps.mask).mean()),
        "length": float(attributes(rows)["length"].mean()),
        "distinct": len(set(pairs)) / len(pairs) if pairs else 1.0,
    }


def _held_out(bed: Bed, world: World, policy: Actors) -> dict[str, float]:
    """The measures on prompts that no training saw."""
    samples = world.sample(policy, HELD_OUT, 16, SAMPLING, bed.seed.child("held out"))
    return _measure(samples, _distance(world, policy, samples), bed.proxy.reward(0))


def _distance(world: World, policy: Actors, samples: Samples) -> Steps:
    """The samples' steps with the exact KL to the start at each."""
    with torch.no_grad():
        steps = world.rescore(policy, samples, ("policy",), ("kl:reference",))
    assert isinstance(steps, Steps)  # a text world gives steps
    return steps


def _spoken(bed: Bed, world: World, policy: Actors, count: int) -> list[tuple[str, str, float, float]]:
    """(prompt, answer, gold, proxy) of one sample to each of a few held-out prompts."""
    asked = HELD_OUT[:: max(1, len(HELD_OUT) // count)][:count]
    samples = world.sample(policy, asked, 1, SAMPLING, bed.seed.child("spoken"))
    rows = rows_of(samples)
    proxy: Proxy = bed.proxy
    with torch.no_grad():
        scored = zip(asked, samples.texts(), gold(rows).tolist(), proxy(rows)[:, 0].tolist(), strict=True)
    return [(p, a, g, s) for p, a, g, s in scored]


def _samples(spoken: Mapping[str, Sequence[tuple[str, str, float, float]]]) -> list[dict[str, Any]]:
    prompts = [p for p, _, _, _ in spoken["start"]]
    return [
        {
            "prompt": prompt,
            "columns": [
                {"name": f"{name} · gold {said[i][2]:.1f}, proxy {said[i][3]:+.1f}", "text": said[i][1]}
                for name, said in spoken.items()
            ],
        }
        for i, prompt in enumerate(prompts)
    ]
