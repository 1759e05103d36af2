"""Aligning a policy: from records, a model and a method to one recipe, one run and one folder."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from guerdon.training import Progress, Recipe, distributed, run
from guerdon.verbs import measure, schema
from guerdon.verbs.folder import RunFolder, open_run, refuse_finished, write_json
from guerdon.verbs.job import Job, fitted, measured, opened, recipe_of, spoken
from guerdon.verbs.options import AlignOptions
from guerdon.verbs.preferences import Records, named, remaking
from guerdon.verbs.ranked import pair_rankings
from guerdon.verbs.reward import thread_count
from guerdon.verbs.signal import RewardLike


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


def align(
    data: Records | str | Path,
    model: str | Path | None = None,
    method: str | None = None,
    *,
    reward: RewardLike | None = None,
    out: str | Path | None = None,
    overwrite: bool = False,
    command: str | None = None,
    progress: Callable[[int, int, Mapping[str, float]], None] | None = None,
    options: AlignOptions | None = None,
    log: Callable[[str], None] | None = None,
    **settings: Any,
) -> Aligned:
    """Align a causal LM on preference records, or on their prompts with a reward, by any of ``training.methods.names``
    ('dpo' is the baseline, 'rloo' and 'grpo' the plainest that sample).

    model: a folder or hub id. reward: a folder of ``train_reward``, a reward model or any ``Reward``; the methods that
    sample need it, the others report it before and after. Hyperparameters of the method go by ``hyper``, its defaults
    are the paper's. out: a folder for policy, metrics, checkpoints and
    samples; an unfinished run of the same configuration there is resumed. settings: fields of ``AlignOptions``;
    on_error='skip' leaves out records whose responses do not fit the context and tells ``log``.

    Learning rate unless ``optim.lr`` says otherwise: 3e-4 below ten million weights, 1e-4 with LoRA, else 1e-6. Started
    by torchrun or accelerate launch, the processes split the rows of every update; the first one alone writes and calls
    ``progress`` and ``log``. Raises GuerdonError for bad data, model, reward or option before anything is written.
    """
    chosen = options if options is not None else schema.build(AlignOptions, settings)
    chosen, given = _inputs(chosen, model, method, reward)
    with distributed.joined():
        told = log if distributed.rank() == 0 else None
        return _aligned(data, given, chosen, out, overwrite, command, progress, told)


def _aligned(
    data: Records | str | Path,
    given: RewardLike | None,
    chosen: AlignOptions,
    out: str | Path | None,
    overwrite: bool,
    command: str | None,
    progress: Callable[[int, int, Mapping[str, float]], None] | None,
    log: Callable[[str], None] | None,
) -> Aligned:
    """``align`` by one rank; whatever touches the folder is done by the first."""
    distributed.once(lambda: refuse_finished(out, overwrite))
    job = distributed.agreed(lambda: _read(data, given, chosen, log))
    with thread_count(chosen.threads, job.parameters) as threads:
        recipe = distributed.agreed(lambda: recipe_of(job))
        folder = None
        if out is not None:
            told = command
            if given is None or isinstance(given, str | Path):
                told = command or remaking("align", data, chosen, out)
            config = {"data": named(data), **schema.plain(chosen)}
            folder = distributed.once(partial(open_run, out, "align", config, told, overwrite))
        return _carried_out(job, recipe, folder, progress, threads)


def _read(
    data: Records | str | Path, given: RewardLike | None, chosen: AlignOptions, log: Callable[[str], None] | None
) -> Job:
    job = opened(data, given, chosen, log)
    if job.preset.online:
        return job
    return replace(job, train=fitted(job, job.train, log), held_out=fitted(job, job.held_out, log))


def _named(reward: RewardLike | None) -> str | None:
    return str(reward) if isinstance(reward, str | Path) else None if reward is None else type(reward).__name__


def _inputs(
    chosen: AlignOptions, model: str | Path | None, method: str | None, reward: RewardLike | None
) -> tuple[AlignOptions, RewardLike | None]:
    """(the options with all three named, the reward itself); an argument wins over an option."""
    given: RewardLike | None = reward if reward is not None else chosen.reward
    model = chosen.model if model is None else str(model)
    method = chosen.method if method is None else method
    return replace(chosen, model=model, method=method, reward=_named(given)), given


def _carried_out(
    job: Job,
    recipe: Recipe,
    folder: RunFolder | None,
    progress: Callable[[int, int, Mapping[str, float]], None] | None,
    threads: int,
) -> Aligned:
    """Measure, run, measure again, store. A resumed run measures its start from the same start weights."""
    before, shown = distributed.once(lambda: (measured(job), spoken(job)))

    def tick(now: Progress) -> None:
        if progress is not None:
            progress(now.round, now.rounds, now.metrics)

    where = None if folder is None else folder.path
    result = run(recipe, where, save_every=job.options.save_every, on_metrics=tick)
    after, said = distributed.once(lambda: (measured(job), spoken(job)))
    samples = [
        {"prompt": p, "columns": [{"name": "before", "text": a}, {"name": "after", "text": b}]}
        for (p, a), (_, b) in zip(shown, said, strict=True)
    ]
    ranked = distributed.once(lambda: pair_rankings(job))
    summary = {**measure.summary(job.method, before, after, bool(job.held_out)), **ranked}
    if folder is not None:
        more = {"threads": threads, "ranks": distributed.size(), "rounds": result.rounds, "stopped": result.stopped}
        distributed.once(partial(_stored, job, folder, summary, samples, more))
    return Aligned(job.model, job.tokenizer, summary, result.history, samples, where)


def _stored(
    job: Job,
    folder: RunFolder,
    summary: Mapping[str, Any],
    samples: Sequence[Mapping[str, Any]],
    more: Mapping[str, Any],
) -> None:
    """The policy and what was measured; then the run is marked finished."""
    job.model.save_pretrained(folder.file("policy"))
    job.tokenizer.save_pretrained(folder.file("policy"))
    write_json(folder.file("summary.json"), summary)
    write_json(folder.file("samples.json"), samples)
    folder.finish(**more)
