"""Aligning a policy: from records, a model and a method to one recipe, one run and one folder."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from guerdon.batch import Pairs, Preference, Samples, Seed
from guerdon.errors import DataError, GuerdonError
from guerdon.rewards import Reward
from guerdon.training import Every, Micro, Optim, Progress, Prompts, Recipe, Recorded, run
from guerdon.training.presets import offline, online
from guerdon.verbs import measure
from guerdon.verbs import options as schema
from guerdon.verbs.folder import RunFolder, open_run, refuse_finished, write_json
from guerdon.verbs.options import METHODS, ONLINE, AlignOptions
from guerdon.verbs.preferences import Records, fitting, read
from guerdon.verbs.reward import TINY, check_device, part, thread_count
from guerdon.verbs.signal import MESSAGES, RewardLike, Starts, combined, draw, shaped
from guerdon.worlds import AdapterOff, Frozen, Sampling, Snapshots
from guerdon.worlds.text import Lora, TextWorld, encode, load_policy, pad_rows

ANCHORS = 4
"""Responses of the start a prompt that PAR compares with."""


@dataclass(frozen=True)
class Aligned:
    """What ``align`` gives. policy: the trained model. summary: what was measured before and after. history: a record a
    round. samples: prompts with both responses. folder: None where nothing was written."""

    policy: Any
    tokenizer: Any
    summary: Mapping[str, Any]
    history: Sequence[Mapping[str, float]] = field(repr=False, default=())
    samples: Sequence[Mapping[str, Any]] = field(repr=False, default=())
    folder: Path | None = None

    def rows(self) -> list[tuple[str, object, object]]:
        """(name, before, after) of everything measured."""
        before, after = self.summary["before"], self.summary["after"]
        return [(name, before[name], after[name]) for name in after]


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


def align(
    data: Records | str | Path,
    model: str | Path,
    method: str,
    *,
    reward: RewardLike | None = None,
    out: str | Path | None = None,
    overwrite: bool = False,
    command: str | None = None,
    progress: Callable[[int, int, Mapping[str, float]], None] | None = None,
    options: AlignOptions | None = None,
    source: str | None = None,
    on_error: str = "raise",
    log: Callable[[str], None] | None = None,
    **settings: Any,
) -> Aligned:
    """Align a causal LM on preference records by 'dpo', 'ipo' or 'simpo', or on their prompts by 'rloo', 'grpo' or
    'remax' with a reward.

    model: a folder or hub id. reward: a folder of ``train_reward``, a reward model or any ``Reward``; the online
    methods need it, the offline ones report it before and after. out: a folder for policy, metrics, checkpoints and
    samples; an unfinished run of the same configuration there is resumed. settings: fields of ``AlignOptions``. source:
    what run.json calls the data. on_error: 'skip' leaves out records whose responses do not fit the context and tells
    ``log``.

    Learning rate unless ``optim.lr`` says otherwise: 3e-4 below ten million weights, 1e-4 with LoRA, else 1e-6. Raises
    GuerdonError for bad data, model, reward or option before anything is written.
    """
    chosen = options if options is not None else schema.build(AlignOptions, settings)
    refuse_finished(out, overwrite)
    job = _job(data, model, method, reward, chosen)
    if method not in ONLINE:
        job = replace(
            job, train=_fitting(job, job.train, on_error, log), held_out=_fitting(job, job.held_out, on_error, log)
        )
    with thread_count(chosen.threads, job.parameters) as threads:
        recipe = _recipe(job, model)
        folder = None
        if out is not None:
            named = source or (
                str(data) if isinstance(data, str | Path) else f"{len(job.train) + len(job.held_out)} records"
            )
            config = {"data": named, "model": str(model), "method": method, "reward": _named(reward)}
            folder = open_run(out, "align", {**config, **schema.plain(chosen)}, command, overwrite)
        return _carried_out(job, recipe, folder, progress, threads)


def _named(reward: RewardLike | None) -> str | None:
    return str(reward) if isinstance(reward, str | Path) else None if reward is None else type(reward).__name__


def _job(
    data: Records | str | Path, model: str | Path, method: str, reward: RewardLike | None, chosen: AlignOptions
) -> Job:
    if method not in METHODS:
        raise GuerdonError(f"The method must be one of {', '.join(METHODS)}, but {method!r} came.")
    if method in ONLINE and reward is None:
        raise GuerdonError(
            f"The method {method} samples and scores, so it needs a reward; train one and give it with --reward DIR."
        )
    check_device(chosen.device)
    records = read(data) if isinstance(data, str | Path) else list(data)
    base = None if reward is None else combined(reward, chosen)
    lora = (
        Lora(chosen.lora.rank, chosen.lora.alpha, chosen.lora.dropout, _targets(chosen.lora.targets))
        if chosen.lora.rank
        else None
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(Seed(chosen.seed).child("adapters").integer(31))
        policy, tokenizer = load_policy(model, chosen.device, chosen.dtype, lora)
    world = TextWorld(policy, tokenizer)
    snapshots = Snapshots(policy, reference=AdapterOff() if lora else Frozen())
    train, held_out = part(records, chosen.held_out, chosen.seed)
    return Job(method, chosen, policy, tokenizer, world, snapshots, train, held_out, base)


def _fitting(job: Job, records: Records, on_error: str, log: Callable[[str], None] | None) -> Records:
    def tokens(record: Preference) -> object:
        return pairs_of([record], job.tokenizer, job.world.context, 1, job.seed)

    return fitting(records, tokens, on_error, log) if records else records


def _targets(text: str) -> str | tuple[str, ...]:
    return text if text == "all-linear" else tuple(text.split(","))


def _recipe(job: Job, model: str | Path) -> Recipe:
    o = job.options
    lr = o.optim.lr or (3e-4 if job.parameters < TINY else 1e-4 if o.lora.rank else 1e-6)
    note = {
        "method": job.method,
        "model": str(model),
        **{k: v for k, v in schema.plain(o).items() if k not in ("threads", "device")},
    }
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
    starts = Starts.of(job.train, job.tokenizer, _room(job))
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


def _room(job: Job) -> int | None:
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


def _carried_out(
    job: Job,
    recipe: Recipe,
    folder: RunFolder | None,
    progress: Callable[[int, int, Mapping[str, float]], None] | None,
    threads: int,
) -> Aligned:
    """Measure, run, measure again, store. A resumed run measures its start from the same start weights."""
    before, shown = measured(job), spoken(job)

    def tick(now: Progress) -> None:
        if progress is not None:
            progress(now.round, now.rounds, now.metrics)

    where = None if folder is None else folder.path
    result = run(recipe, where, save_every=job.options.save_every, on_metrics=tick)
    after = measured(job)
    samples = [
        {"prompt": p, "columns": [{"name": "before", "text": a}, {"name": "after", "text": b}]}
        for (p, a), (_, b) in zip(shown, spoken(job), strict=True)
    ]
    summary = measure.summary(job.method, before, after, bool(job.held_out))
    if folder is not None:
        job.model.save_pretrained(folder.file("policy"))
        job.tokenizer.save_pretrained(folder.file("policy"))
        write_json(folder.file("summary.json"), summary)
        write_json(folder.file("samples.json"), samples)
        folder.finish(threads=threads, rounds=result.rounds, stopped=result.stopped)
    return Aligned(job.model, job.tokenizer, summary, result.history, samples, where)


def _shown_records(job: Job) -> Sequence[Preference]:
    return job.held_out or job.train


def measured(job: Job) -> dict[str, float]:
    """What is known of the policy now, on prompts held out where there are any, always with the same seeds."""
    starts = Starts.of(_shown_records(job)[: measure.PROMPTS], job.tokenizer, _room(job))
    samples = draw(job.world, job.snapshots, starts, 1, job.sampling, job.seed.child("measure"))
    found = measure.of_samples(job.world, job.snapshots, samples, job.reward)
    pairs = [r for r in _shown_records(job)[: measure.PROMPTS] if r.comparisons]
    if pairs and job.method not in ONLINE:
        recorded = pairs_of(pairs, job.tokenizer, job.world.context, len(pairs), job.seed)
        found["pairs ordered rightly"] = measure.pair_accuracy(
            job.world, job.snapshots, recorded, job.method == "simpo"
        )
    return found


def spoken(job: Job) -> list[tuple[str, str]]:
    """(prompt, response) of the first few prompts."""
    records = _shown_records(job)[: job.options.samples]
    starts = Starts.of(records, job.tokenizer, _room(job))
    if not len(starts):
        return []
    samples = draw(job.world, job.snapshots, starts, 1, job.sampling, job.seed.child("shown"))
    prompts = ["\n".join(f"{m.role}: {m.text}" if len(ms) > 1 else m.text for m in ms) for ms in starts.messages]
    return list(zip(prompts, samples.texts(), strict=True))
