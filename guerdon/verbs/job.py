"""One alignment before it is carried out: all that it needs read and loaded, its recipe, its measurements."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from guerdon.batch import Preference, Samples, Seed
from guerdon.errors import GuerdonError
from guerdon.rewards import Reward
from guerdon.training import Every, Micro, Optim, Prompts, Recipe, Recorded, Source
from guerdon.training.methods import Preset, find
from guerdon.training.presets import offline, online
from guerdon.verbs import measure, schema
from guerdon.verbs.material import items, source_of
from guerdon.verbs.options import AlignOptions
from guerdon.verbs.preferences import Records, fitting, read
from guerdon.verbs.reward import TINY, check_device, part
from guerdon.verbs.signal import MESSAGES, RewardLike, Starts, combined, draw, shaped
from guerdon.worlds import AdapterOff, Frozen, Sampling, Snapshots
from guerdon.worlds.snapshots import Rule
from guerdon.worlds.text import Lora, TextWorld, load_policy

ANCHORS = 4
"""Responses of the start a prompt that PAR compares with."""
START, GUIDE = "start", "guide"
"""Names of the policy before the first update, where the reference moves, and of the policy that guides."""


@dataclass(frozen=True)
class Job:
    """All that a run needs, read and loaded; nothing has been written yet."""

    method: str
    options: AlignOptions
    model: Any
    tokenizer: Any
    world: TextWorld
    snapshots: Snapshots
    train: Records
    held_out: Records
    reward: Reward | None

    @property
    def preset(self) -> Preset:
        """What the method is made of."""
        return find(self.method)

    @property
    def hyper(self) -> dict[str, Any]:
        """The hyperparameters that were given; those left out are the method's own."""
        return hyper_of(self.options)

    @property
    def start(self) -> str:
        """The snapshot that is the policy before the first update."""
        return START if START in self.snapshots else "reference"

    @property
    def seed(self) -> Seed:
        """The root of all draws."""
        return Seed(self.options.seed).child("align")

    @property
    def sampling(self) -> Sampling:
        """How responses are drawn."""
        o = self.options.sampling
        return Sampling(temperature=o.temperature, top_p=o.top_p, limit=o.limit)

    @property
    def parameters(self) -> int:
        """Weights of the model, frozen ones included."""
        return sum(p.numel() for p in self.model.parameters())


def hyper_of(chosen: AlignOptions) -> dict[str, Any]:
    """The hyperparameters that were given, by name."""
    flags = {"beta": chosen.beta, "kl": chosen.kl}
    return {**chosen.hyper, **{k: v for k, v in flags.items() if v is not None}}


def check_inputs(chosen: AlignOptions, has_reward: bool) -> tuple[str, Preset]:
    """(model, method). Raises GuerdonError where one is missing, for a hyperparameter that the method does not have,
    or where the method lacks its reward or its guide, or has a cache for what is never read twice."""
    model = chosen.model
    if model is None:
        raise GuerdonError("A policy to align was expected; name its folder or hub id with --model.")
    if chosen.method is None:
        raise GuerdonError("A method was expected; name it with --method (dpo is the baseline).")
    preset = find(chosen.method)
    preset.settings(hyper_of(chosen))
    if "reward" in preset.needs and not has_reward:
        raise GuerdonError(
            f"The method {preset.name} samples and scores, so it needs a reward; train one and give it with --reward "
            "DIR."
        )
    if "guide" in preset.needs and chosen.guide is None:
        raise GuerdonError(
            f"The method {preset.name} is guided by a policy that was aligned before; give its folder with --guide DIR."
        )
    if chosen.guide is not None and chosen.lora.rank:
        raise GuerdonError("A guide is a whole policy, but --lora-rank trains adapters alone; leave one of them out.")
    if preset.online and chosen.reference_cache is not None:
        raise GuerdonError(
            f"A reference_cache keeps log-probs of recorded pairs, but the rows of {preset.name} are new in every "
            "round; leave it out."
        )
    return model, preset


def opened(
    data: Records | str | Path,
    reward: RewardLike | None,
    chosen: AlignOptions,
    log: Callable[[str], None] | None,
) -> Job:
    """Everything read and loaded. Raises GuerdonError for whatever cannot be used."""
    model, preset = check_inputs(chosen, reward is not None)
    check_device(chosen.device)
    records = read(data, chosen.format, chosen.on_error, log) if isinstance(data, str | Path) else list(data)
    base = None if reward is None else combined(reward, chosen.combine, chosen.device)
    lora = (
        Lora(chosen.lora.rank, chosen.lora.alpha, chosen.lora.dropout, _targets(chosen.lora.targets))
        if chosen.lora.rank
        else None
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(Seed(chosen.seed).child("adapters").integer(31))
        policy, tokenizer = load_policy(model, chosen.device, chosen.dtype, lora)
    world = TextWorld(policy, tokenizer, cache=chosen.reference_cache)
    train, held_out = part(records, chosen.held_out, chosen.seed)
    if preset.records is not None:
        train = preset.called(preset.records, preset.settings(hyper_of(chosen)), 1, train)
    snapshots = snapshots_of(policy, preset, chosen, updates_of(preset, chosen, train))
    return Job(preset.name, chosen, policy, tokenizer, world, snapshots, train, held_out, base)


def updates_of(preset: Preset, chosen: AlignOptions, train: Records) -> int:
    """Rounds of the run, from the records as they are before any is left out."""
    if chosen.rounds:
        return chosen.rounds
    count = len({r.prompt for r in train}) if preset.online else len(items(preset.reads, train))
    return max(1, math.ceil(chosen.epochs * count / chosen.batch))


def snapshots_of(policy: Any, preset: Preset, chosen: AlignOptions, updates: int) -> Snapshots:
    """The policy with the method's snapshots, its start and its guide. Raises GuerdonError for a guide of another
    shape."""
    rules: dict[str, Rule] = dict(preset.called(preset.rules, preset.settings(hyper_of(chosen)), updates))
    start = "reference" if rules.get("reference", Frozen()) == Frozen() else START
    rules.setdefault(start, Frozen())
    if chosen.lora.rank:
        rules = {name: AdapterOff() if name == start else rule for name, rule in rules.items()}
    snapshots = Snapshots(policy, **rules)
    if chosen.guide is not None:
        guide, _ = load_policy(chosen.guide, chosen.device, chosen.dtype)
        snapshots.add(GUIDE, Frozen())
        snapshots.put(GUIDE, dict(guide.named_parameters()))
    return snapshots


def fitted(job: Job, records: Records, log: Callable[[str], None] | None) -> Records:
    """The records whose rows fit the context, as ``options.on_error`` says."""

    def tokens(record: Preference) -> object:
        return source_of(job.preset.reads, [record], job.tokenizer, job.world.context, 1, job.seed)

    return fitting(records, tokens, job.options.on_error, log) if records else records


def _targets(text: str) -> str | tuple[str, ...]:
    return text if text == "all-linear" else tuple(text.split(","))


NOT_IDENTITY = ("threads", "device", "format", "on_error", "reward", "reference_cache")
"""Options that a checkpoint may differ in."""


def recipe_of(job: Job) -> Recipe:
    """All the settings as one recipe; nothing but PAR's anchors is computed."""
    o = job.options
    lr = o.optim.lr or (3e-4 if job.parameters < TINY else 1e-4 if o.lora.rank else 1e-6)
    note = {k: v for k, v in schema.plain(o).items() if k not in NOT_IDENTITY}
    own = {key: getattr(o.optim, key) for key in ("warmup", "weight_decay", "clip", "fused")}
    shared: dict[str, Any] = {
        "optim": Optim(lr=lr, **own),
        "seed": job.seed,
        "micro": Micro(rows=o.micro),
        "evals": (Every(o.eval_every, lambda _: measured(job), "eval"),) if o.eval_every else (),
        "track": ("steps.logp.reference",) if "reference" in job.snapshots else (),
        "note": note,
        **job.hyper,
    }
    if not job.preset.online:
        source = recorded_of(job, job.train, o.batch)
        return offline(job.method, job.world, job.snapshots, source, epochs=o.epochs, rounds=o.rounds or None, **shared)
    starts = Starts.of(job.train, job.tokenizer, room_of(job))
    size = min(o.batch, len(starts))
    return online(
        job.method,
        job.world,
        job.snapshots,
        Prompts(starts.ids, size, job.seed.child("prompts"), {MESSAGES: starts.messages}),
        None if job.reward is None else shaped(job.reward, _anchors(job, starts)),
        rounds=o.rounds or math.ceil(o.epochs * len(starts) / size),
        per_start=o.per_prompt,
        sampling=job.sampling,
        **shared,
    )


def recorded_of(job: Job, records: Records, per_round: int) -> Source:
    """The records as what the method reads."""
    preset, order = job.preset, job.seed.child("order")
    return source_of(preset.reads, records, job.tokenizer, job.world.context, per_round, order, preset.ordered)


def _anchors(job: Job, starts: Starts) -> Samples | None:
    if job.options.shaping != "par":
        return None
    return draw(job.world, job.snapshots, starts, ANCHORS, job.sampling, job.seed.child("anchors"))


def room_of(job: Job) -> int | None:
    """Tokens a prompt may have beside a response of the sampling limit. Raises GuerdonError where none is left."""
    if job.world.context is None:
        return None
    room = job.world.context - job.options.sampling.limit
    if room < 1:
        raise GuerdonError(
            f"Responses may have {job.options.sampling.limit} tokens, but the model's context is {job.world.context}; "
            "lower sampling.limit."
        )
    return room


def shown_records(job: Job) -> Sequence[Preference]:
    """Those that are looked at before and after."""
    return job.held_out or job.train


def measured(job: Job) -> dict[str, float]:
    """What is known of the policy now, on prompts held out where there are any, always with the same seeds."""
    starts = Starts.of(shown_records(job)[: measure.PROMPTS], job.tokenizer, room_of(job))
    samples = draw(job.world, job.snapshots, starts, 1, job.sampling, job.seed.child("measure"))
    found = measure.of_samples(job.world, job.snapshots, samples, job.reward, job.start)
    pairs = [r for r in shown_records(job)[: measure.PROMPTS] if r.comparisons]
    if pairs and not job.preset.online:
        recorded = source_of("pairs", pairs, job.tokenizer, job.world.context, len(pairs), job.seed)
        assert isinstance(recorded, Recorded)
        found["pairs ordered rightly"] = measure.pair_accuracy(job.world, job.snapshots, recorded, reference_free(job))
    return found


def reference_free(job: Job) -> bool:
    """Whether the method's own score of a response is its mean log-prob."""
    return "reference" not in job.preset.called(job.preset.rules, job.preset.settings(job.hyper))


def spoken(job: Job) -> list[tuple[str, str]]:
    """(prompt, response) of the first few prompts."""
    records = shown_records(job)[: job.options.samples]
    starts = Starts.of(records, job.tokenizer, room_of(job))
    if not len(starts):
        return []
    samples = draw(job.world, job.snapshots, starts, 1, job.sampling, job.seed.child("shown"))
    prompts = ["\n".join(f"{m.role}: {m.text}" if len(ms) > 1 else m.text for m in ms) for ms in starts.messages]
    return list(zip(prompts, samples.texts(), strict=True))
