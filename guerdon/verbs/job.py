"""One alignment before it is carried out: all that it needs read and loaded, its recipe, its measurements."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from guerdon.batch import Pairs, Preference, Samples, Seed
from guerdon.errors import DataError, GuerdonError
from guerdon.rewards import Reward
from guerdon.training import Every, Micro, Optim, Prompts, Recipe, Recorded
from guerdon.training.presets import offline, online
from guerdon.verbs import measure, schema
from guerdon.verbs.options import METHODS, ONLINE, AlignOptions
from guerdon.verbs.preferences import Records, fitting, read
from guerdon.verbs.reward import TINY, check_device, part
from guerdon.verbs.signal import MESSAGES, RewardLike, Starts, combined, draw, shaped
from guerdon.worlds import AdapterOff, Frozen, Sampling, Snapshots
from guerdon.worlds.text import Lora, TextWorld, encode, load_policy, pad_rows

ANCHORS = 4
"""Responses of the start a prompt that PAR compares with."""


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


def check_inputs(chosen: AlignOptions, has_reward: bool) -> tuple[str, str]:
    """(model, method). Raises GuerdonError where one is missing, or an online method has no reward or a cache for what
    is never read twice."""
    model, method = chosen.model, chosen.method
    if model is None:
        raise GuerdonError("A policy to align was expected; name its folder or hub id with --model.")
    if method not in METHODS:
        raise GuerdonError(f"The method must be one of {', '.join(METHODS)}, but {method!r} came.")
    if method in ONLINE and not has_reward:
        raise GuerdonError(
            f"The method {method} samples and scores, so it needs a reward; train one and give it with --reward DIR."
        )
    if method in ONLINE and chosen.reference_cache is not None:
        raise GuerdonError(
            f"A reference_cache keeps log-probs of recorded pairs, but the rows of {method} are new in every round; "
            "leave it out."
        )
    return model, method


def opened(
    data: Records | str | Path,
    reward: RewardLike | None,
    chosen: AlignOptions,
    log: Callable[[str], None] | None,
) -> Job:
    """Everything read and loaded. Raises GuerdonError for whatever cannot be used."""
    model, method = check_inputs(chosen, reward is not None)
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
    snapshots = Snapshots(policy, reference=AdapterOff() if lora else Frozen())
    train, held_out = part(records, chosen.held_out, chosen.seed)
    return Job(method, chosen, policy, tokenizer, world, snapshots, train, held_out, base)


def fitted(job: Job, records: Records, log: Callable[[str], None] | None) -> Records:
    """The records whose rows fit the context, as ``options.on_error`` says."""

    def tokens(record: Preference) -> object:
        return pairs_of([record], job.tokenizer, job.world.context, 1, job.seed)

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
    shared: dict[str, Any] = {
        "optim": Optim(lr=lr, warmup=o.optim.warmup, weight_decay=o.optim.weight_decay, clip=o.optim.clip),
        "seed": job.seed,
        "micro": Micro(rows=o.micro),
        "evals": (Every(o.eval_every, lambda _: measured(job), "eval"),) if o.eval_every else (),
        "track": ("steps.logp.reference",),
        "note": note,
    }
    if job.method not in ONLINE:
        recorded = pairs_of(job.train, job.tokenizer, job.world.context, o.batch, job.seed.child("order"))
        options: dict[str, Any] = {"beta": o.beta, "margin": o.margin, "smoothing": o.smoothing, "epochs": o.epochs}
        made = offline(job.method, job.world, job.snapshots, recorded, **options, **shared)
        return made.with_(rounds=o.rounds) if o.rounds else made
    starts = Starts.of(job.train, job.tokenizer, room_of(job))
    size = min(o.batch, len(starts))
    return online(
        job.method,
        job.world,
        job.snapshots,
        Prompts(starts.ids, size, job.seed.child("prompts"), {MESSAGES: starts.messages}),
        shaped(_base(job), _anchors(job, starts)),
        rounds=o.rounds or math.ceil(o.epochs * len(starts) / size),
        per_start=o.per_prompt,
        kl=o.kl,
        sampling=job.sampling,
        **shared,
    )


def _base(job: Job) -> Reward:
    if job.reward is None:
        raise GuerdonError(f"The method {job.method} needs a reward.")
    return job.reward


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


def pairs_of(records: Records, tokenizer: Any, context: int | None, per_round: int, seed: Seed) -> Recorded:
    """Comparisons as recorded token rows, the chat template honoured; a long prompt loses its start.

    Raises DataError naming the record whose response does not fit the context, or where there is no comparison.
    """
    rows: list[tuple[Preference, int]] = []
    found: list[tuple[int, int, float, float]] = []
    for record in records:
        first = len(rows)
        rows += [(record, i) for i in range(len(record.responses))]
        found += [(first + w, first + l, p, weight) for w, l, p, weight in record.pairs()]
    if not found:
        raise DataError("Comparisons were expected, but the records hold none; give chosen and rejected responses.")
    encoded = [
        encode(
            tokenizer,
            r.prompt,
            r.responses[i],
            max_length=context,
            source=f"{r.source or 'a record'}, response {i + 1}",
        )
        for r, i in rows
    ]
    winner, loser, preferred, weight = zip(*found, strict=True)
    pairs = Pairs(
        torch.tensor(winner),
        torch.tensor(loser),
        preferred=torch.tensor(preferred, dtype=torch.float32),
        weight=torch.tensor(weight, dtype=torch.float32),
    )
    samples = Samples(
        pad_rows(encoded, tokenizer),
        [r.prompt_text for r, _ in rows],
        [r.response_text(i) for r, i in rows],
        terminated=torch.ones(len(rows), dtype=torch.bool),
    )
    return Recorded(samples, min(per_round, len(found)), pairs, seed=seed)


def shown_records(job: Job) -> Sequence[Preference]:
    """Those that are looked at before and after."""
    return job.held_out or job.train


def measured(job: Job) -> dict[str, float]:
    """What is known of the policy now, on prompts held out where there are any, always with the same seeds."""
    starts = Starts.of(shown_records(job)[: measure.PROMPTS], job.tokenizer, room_of(job))
    samples = draw(job.world, job.snapshots, starts, 1, job.sampling, job.seed.child("measure"))
    found = measure.of_samples(job.world, job.snapshots, samples, job.reward)
    pairs = [r for r in shown_records(job)[: measure.PROMPTS] if r.comparisons]
    if pairs and job.method not in ONLINE:
        recorded = pairs_of(pairs, job.tokenizer, job.world.context, len(pairs), job.seed)
        found["pairs ordered rightly"] = measure.pair_accuracy(
            job.world, job.snapshots, recorded, job.method == "simpo"
        )
    return found


def spoken(job: Job) -> list[tuple[str, str]]:
    """(prompt, response) of the first few prompts."""
    records = shown_records(job)[: job.options.samples]
    starts = Starts.of(records, job.tokenizer, room_of(job))
    if not len(starts):
        return []
    samples = draw(job.world, job.snapshots, starts, 1, job.sampling, job.seed.child("shown"))
    prompts = ["\n".join(f"{m.role}: {m.text}" if len(ms) > 1 else m.text for m in ms) for ms in starts.messages]
    return list(zip(prompts, samples.texts(), strict=True))
