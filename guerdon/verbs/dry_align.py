"""``align --dry-run``: the rows a run sends through its models, counted from the very recipe it would carry out."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from guerdon.batch import Preference, Samples, Scores
from guerdon.errors import GuerdonError
from guerdon.rewards import Context, Reward, State
from guerdon.training import Recipe, evidence
from guerdon.training.methods import Preset
from guerdon.training.sources import positions
from guerdon.verbs import measure
from guerdon.verbs.dry import (
    about_records,
    about_tokens,
    empty_model,
    lengths,
    memory_of,
    reward_shape,
    seconds_of,
    trained_weights,
)
from guerdon.verbs.job import (
    ANCHORS,
    Job,
    check_inputs,
    hyper_of,
    recipe_of,
    reference_free,
    shown_records,
    snapshots_of,
    updates_of,
)
from guerdon.verbs.material import items
from guerdon.verbs.options import AlignOptions, LoraOptions
from guerdon.verbs.plan import MEMORY_RULE, RULE, Plan, Rate, Shape
from guerdon.verbs.preferences import Records, read
from guerdon.verbs.reward import check_device, dtype_named, part
from guerdon.verbs.signal import Starts
from guerdon.worlds.snapshots import LIVE
from guerdon.worlds.text import TextWorld

_LOOK = 64
"""Records that a recipe is made of to be looked at; none of it is computed."""


class _Nothing(Reward):
    """Stands for a reward that is not read."""

    name, channels = "reward", ("reward",)

    def score(self, samples: Samples, state: State, context: Context) -> tuple[Scores, State]:
        raise GuerdonError("A dry run scores nothing.")


@dataclass
class Count:
    """Rows of ``align`` by kind. drawn: responses generated, in ``draws`` batches."""

    learned: int = 0
    read: int = 0
    drawn: int = 0
    scored: int = 0
    updates: int = 0
    draws: int = 0

    def add(self, other: "Count", times: int = 1) -> None:
        for name in ("learned", "read", "drawn", "scored", "updates", "draws"):
            setattr(self, name, getattr(self, name) + times * getattr(other, name))


def align(data: str | Path, chosen: AlignOptions, out: str | Path, rate: Rate | None = None) -> Plan:
    """``align``: rows through policy and reference with and without gradient, and responses drawn."""
    from guerdon.rewards.models.loading import load_tokenizer

    model_name, preset = check_inputs(chosen, chosen.reward is not None)
    check_device(chosen.device)
    reward = None if chosen.reward is None else reward_shape(chosen.reward)
    records = read(data, chosen.format, chosen.on_error)
    model, tokenizer = empty_model(model_name, causal=True), load_tokenizer(model_name)
    shape, dtype = Shape.of(model), dtype_named(chosen.dtype)
    trained = trained_weights(chosen.lora, model, shape.weights)
    train, held_out = part(records, chosen.held_out, chosen.seed)
    if preset.records is not None:
        train = preset.called(preset.records, preset.settings(hyper_of(chosen)), 1, train)
    job = Job(
        preset.name,
        chosen,
        model,
        tokenizer,
        TextWorld(model, tokenizer),
        snapshots_of(model, preset, replace(chosen, guide=None, lora=LoraOptions()), updates_of(preset, chosen, train)),
        train,
        held_out,
        _Nothing() if chosen.reward is not None else None,
    )
    count = counted(job)
    long = lengths(tokenizer, records, shape.context)
    limit = chosen.sampling.limit
    drawn_length = min(long.prompt + limit, shape.context or 10**9) if preset.online else long.mean
    work = shape.forward(count.drawn * (long.prompt + limit), long.prompt + limit)
    work += shape.forward(count.read * drawn_length, drawn_length)
    work += 3 * shape.forward(count.learned * drawn_length, drawn_length)
    work += 0 if reward is None else reward.forward(count.scored * drawn_length, drawn_length)
    micro = chosen.micro or chosen.batch
    calls = (count.read + 3 * count.learned) / micro + count.draws * limit
    copies = 0 if chosen.lora.rank else shape.weights
    widest = max(long.longest, int(drawn_length)) if preset.online else long.longest
    memory = memory_of(shape, trained, copies, micro, widest, dtype)
    memory |= {} if reward is None else {"reward model": reward.weights * 4}
    return Plan(
        "align",
        (
            about_records(data, records),
            _material(preset, train),
            ("model", f"{model_name}: {shape.weights:,} weights, {trained:,} of them trained"),
            ("snapshots", ", ".join(job.snapshots.names()) + (" (adapters off)" if chosen.lora.rank else " (copies)")),
            ("reward", chosen.reward or "none"),
            about_tokens(long),
        ),
        {
            "rows forward and backward": count.learned,
            "rows forward": count.read,
            "responses drawn": count.drawn,
            "rows scored by the reward": count.scored,
            "updates": count.updates,
        },
        memory,
        seconds_of(rate, chosen.device, dtype, work, calls, shape),
        f"policy, checkpoints, metrics, samples and report in {out}",
        (RULE, MEMORY_RULE),
    )


def _material(preset: Preset, train: Records) -> tuple[str, str]:
    if preset.online:
        return "prompts", f"{len({r.prompt for r in train})} to sample from"
    count = len(items(preset.reads, train))
    if not count:
        raise GuerdonError(f"The method {preset.name} learns from {_NAMED[preset.reads]}, but the records hold none.")
    return _NAMED[preset.reads], f"{count} to train on"


_NAMED = {
    "pairs": "comparisons",
    "scored": "comparisons",
    "lists": "rated lists",
    "unpaired": "labelled responses",
    "rewritten": "comparisons",
}


def counted(job: Job) -> Count:
    """What ``align`` does with this job, from the very recipe it would carry out."""
    o = job.options
    plain = replace(job, options=replace(o, shaping="none"))
    look = plain if job.preset.online else replace(plain, train=job.train[:_LOOK])
    recipe = recipe_of(look)
    total = Count()
    if job.preset.online:
        total.add(_round_online(job, recipe), recipe.rounds)
        if o.shaping == "par":
            anchors = ANCHORS * len(recipe.source)
            total.add(Count(drawn=anchors, scored=anchors, draws=1))
        rounds = recipe.rounds
    else:
        rounds = _offline(job, recipe, total)
    total.add(_rankings(job))
    measured, shown = _measured(job), len(Starts.of(shown_records(job)[: o.samples], job.tokenizer, None))
    times = 2 + (sum(k % o.eval_every == 0 or k == rounds for k in range(1, rounds + 1)) if o.eval_every else 0)
    total.add(measured, times)
    total.add(Count(drawn=shown, draws=1), 2)
    return total


def _round_online(job: Job, recipe: Recipe) -> Count:
    """One round: responses, their scores, what is fixed through the round, and the updates."""
    size = min(job.options.batch, len(recipe.source))
    n = size * (recipe.per_start + sum(recipe.beside.values()))
    greedy = size if recipe.greedy else 0
    objective = recipe.objective_at(0)
    paths = evidence.fixed_paths(recipe, objective)
    known = {*evidence.known(recipe), evidence.SAMPLER}
    names = {x if x in known else LIVE for x in evidence.asked(paths, "logp")}
    fixed = _through(names, evidence.asked(paths, "stats"))
    held = set(evidence.asked(paths, "logp"))
    fresh = {x for x in objective.logps() if x not in held and x in known and x != LIVE}
    now = _through(fresh | {LIVE}, objective.stats()) - 1 if objective.logps() else 0
    updates = recipe.build.updates
    return Count(n * updates, n * (fixed + updates * now), n + greedy, n + greedy, updates, 2 if greedy else 1)


def _through(names: set[str], stats: Sequence[str]) -> int:
    """Forward passes of a row: one for every snapshot that is asked, the live policy once for itself and all
    statistics."""
    against = {s.removeprefix("kl:") for s in stats if s.startswith("kl:")}
    others = (names | against) - {LIVE, evidence.SAMPLER}
    return len(others) + (1 if LIVE in names or stats else 0)


def _offline(job: Job, recipe: Recipe, total: Count) -> int:
    """Rounds; rows as ``Recorded`` draws them: a row of several pairs is read once, and the reference once an epoch's
    first visit."""
    o = job.options
    sides = items(job.preset.reads, job.train)
    per_round = min(o.batch, len(sides))
    rounds = o.rounds or max(1, -(-o.epochs * len(sides) // per_round))
    seen: set[int] = set()
    for k in range(rounds):
        order = None if job.preset.ordered else job.seed.child("order")
        at = positions(order, len(sides), k * per_round, per_round)
        drawn = {row for i in at for row in sides[i]}
        total.learned += len(drawn)
        total.read += 0 if drawn <= seen else len(drawn)
        seen |= drawn
    total.updates += rounds * recipe.build.updates
    return rounds


def _rankings(job: Job) -> Count:
    """What the report says of the pairs' rankings, once at the end: policy and start on every response."""
    pairs = [r for r in shown_records(job)[: measure.PROMPTS] if r.comparisons]
    return Count() if job.preset.online else Count(read=2 * sum(len(r.responses) for r in pairs))


def _measured(job: Job) -> Count:
    """One measurement: a response a prompt, its KL, its reward, and the pairs."""
    look = shown_records(job)[: measure.PROMPTS]
    starts = len(Starts.of(look, job.tokenizer, None))
    found = Count(read=2 * starts, drawn=starts, scored=starts if job.reward is not None else 0, draws=1)
    pairs: list[Preference] = [r for r in look if r.comparisons]
    if not job.preset.online:
        names = 1 if reference_free(job) else 2
        found.read += names * sum(len(r.responses) for r in pairs)
    return found
