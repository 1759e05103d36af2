"""Training and judging reward models."""

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from guerdon.audit import (
    Interval,
    RewardModelReport,
    evaluate_reward_model,
    length_baseline,
    length_differences,
    wilson,
)
from guerdon.batch import Preference, Seed
from guerdon.data import split_preferences
from guerdon.errors import GuerdonError
from guerdon.rewards.models import ScalarRewardModel, TextScorer, load_embedder
from guerdon.rewards.models import load_model as load_saved
from guerdon.training.resumable import Resumable
from guerdon.training.reward_models import Progress, fit_embedding_head, fit_scalar_model, pair_scores
from guerdon.verbs import schema
from guerdon.verbs.folder import open_run, read_json, refuse_finished, write_json
from guerdon.verbs.options import RewardOptions
from guerdon.verbs.preferences import Records, fitting, named, read, remaking

MODEL, EVALUATION, ABOUT = "model", "evaluation.json", "reward.json"
TINY = 10_000_000
"""Models below so many parameters run on one thread unless told otherwise: more threads make them slower."""
FITTING, SAVE_EVERY = "fitting", 100
"""Where an unfinished fit of a backbone stands in a run's folder, and after how many steps it is saved."""


@contextmanager
def thread_count(threads: int, parameters: int) -> Iterator[int]:
    """``threads`` torch threads while the block runs; 0 is 1 for tiny models and torch's own choice for others."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads or (1 if parameters < TINY else before))
    try:
        yield torch.get_num_threads()
    finally:
        torch.set_num_threads(before)


def dtype_named(name: str) -> torch.dtype:
    """'float32', 'bfloat16' or 'float16'. Raises GuerdonError for anything else."""
    known = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
    if name not in known:
        raise GuerdonError(f"The dtype must be one of {', '.join(known)}, but {name!r} came.")
    return known[name]


def check_device(name: str) -> None:
    """Raises GuerdonError where torch cannot use the device."""
    try:
        torch.zeros(1, device=name)
    except (RuntimeError, AssertionError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        raise GuerdonError(f"The device {name!r} cannot be used: {reason}.") from error


def train_reward(
    data: Records | str | Path,
    model: str | Path | None = None,
    *,
    out: str | Path | None = None,
    overwrite: bool = False,
    command: str | None = None,
    progress: Progress | None = None,
    options: RewardOptions | None = None,
    log: Callable[[str], None] | None = None,
    **settings: Any,
) -> Any:
    """Fit a Bradley–Terry reward model on comparisons and return it.

    model: 'minilm' (a head on frozen sentence embeddings, the default), a folder or a hub id. settings: fields of
    ``RewardOptions``, nested ones as mappings or 'optim.lr' names. out: a folder for the model and, where ``held_out``
    > 0, its evaluation on prompts it never saw; an unfinished fit of the same configuration there goes on from its last
    checkpoint (a head on frozen embeddings, the work of seconds, begins again). progress: called with (step, steps,
    metrics). Raises GuerdonError for bad data, a bad model or a bad option; what stood in ``out`` stays as it was.
    """
    chosen = options if options is not None else schema.build(RewardOptions, settings)
    chosen = chosen if model is None else replace(chosen, model=str(model))
    dtype, seed = dtype_named(chosen.dtype), Seed(chosen.seed).child("reward")
    refuse_finished(out, overwrite)
    check_device(chosen.device)
    records = read(data, chosen.format, chosen.on_error, log) if isinstance(data, str | Path) else list(data)
    kind = kind_of(chosen)
    start = _start(chosen.model, kind, chosen, dtype, seed)
    if isinstance(start, ScalarRewardModel):
        records = list(fitting(records, lambda record: _tokens(start, record), chosen.on_error, log))
    train, test = part(records, chosen.held_out, chosen.seed)
    folder = None
    if out is not None:
        folder = open_run(
            out,
            "train-reward",
            {"data": named(data), **schema.plain(chosen)},
            command or remaking("train-reward", data, chosen, out),
            overwrite,
        )
    with thread_count(chosen.threads, _parameters(start)) as threads:
        kept = None if folder is None else Resumable(folder.file(FITTING), SAVE_EVERY)
        fitted = _fit(train, start, chosen, seed, progress, kept)
        if folder is not None:
            fitted.save(folder.file(MODEL))
            shutil.rmtree(folder.file(FITTING), ignore_errors=True)
            weight = _length_weight(train, test or train)
            write_json(
                folder.file(ABOUT), {"train": len(train), "held_out": len(test), "kind": kind, "length_weight": weight}
            )
            if test:
                write_json(folder.file(EVALUATION), judged(fitted, test, weight))
            folder.finish(threads=threads)
    return fitted


def kind_of(chosen: RewardOptions) -> str:
    """'embedding' or 'scalar'."""
    return chosen.kind if chosen.kind != "auto" else "embedding" if chosen.model == "minilm" else "scalar"


def _tokens(model: ScalarRewardModel, record: Preference) -> object:
    return [model.encode(record.prompt, record.response_text(i)) for i in range(len(record.responses))]


def part(records: Records, share: float, seed: int) -> tuple[Records, Records]:
    """(train, held out) by prompt; nothing is held out where ``share`` is 0 or there are fewer than 20 records."""
    if share <= 0 or len(records) < 20:
        return records, []
    return split_preferences(records, share, seed)


def _start(model: str | Path, kind: str, chosen: RewardOptions, dtype: torch.dtype, seed: Seed) -> Any:
    """The model before training: an embedder, or a backbone with heads."""
    if kind == "embedding":
        if chosen.lora.rank:
            raise GuerdonError(
                "LoRA adapts a backbone, but kind 'embedding' keeps it frozen; set kind=scalar or leave out --lora."
            )
        return load_embedder(model, max_length=chosen.max_length, device=chosen.device, dtype=dtype)
    lora: dict[str, Any] | None = None
    if chosen.lora.rank:
        lora = {"r": chosen.lora.rank, "lora_alpha": chosen.lora.alpha, "lora_dropout": chosen.lora.dropout}
        lora["target_modules"] = (
            chosen.lora.targets if chosen.lora.targets == "all-linear" else chosen.lora.targets.split(",")
        )
    path = _minilm() if str(model) == "minilm" else model
    return ScalarRewardModel.from_pretrained(
        path, chosen.members, seed=seed, max_length=chosen.max_length, dtype=dtype, device=chosen.device, lora=lora
    )


def _minilm() -> str:
    from guerdon.rewards.models.loading import resolve

    return resolve("minilm")


def _parameters(start: Any) -> int:
    backbone = start.backbone
    return sum(p.numel() for p in backbone.parameters())


def _fit(
    train: Records,
    start: Any,
    chosen: RewardOptions,
    seed: Seed,
    progress: Progress | None,
    kept: Resumable | None = None,
) -> Any:
    if not isinstance(start, ScalarRewardModel):
        return fit_embedding_head(
            train,
            start,
            names=tuple(chosen.features.split(",")),
            members=chosen.members,
            hidden=chosen.hidden,
            bootstrap=chosen.bootstrap,
            weight_decay=chosen.weight_decay,
            smoothing=chosen.smoothing,
            lr=chosen.optim.lr or 1e-2,
            seed=seed,
            progress=progress,
        )[0]
    return fit_scalar_model(
        train,
        start,
        epochs=chosen.epochs,
        lr=chosen.optim.lr or 1e-3 if _parameters(start) < TINY else chosen.optim.lr or 1e-5,
        pairs_at_once=chosen.batch,
        warmup=chosen.optim.warmup,
        weight_decay=chosen.weight_decay,
        max_norm=chosen.optim.clip,
        fused=chosen.optim.fused,
        smoothing=chosen.smoothing,
        bootstrap=bool(chosen.bootstrap) if chosen.bootstrap is not None else chosen.members > 1,
        seed=seed,
        progress=progress,
        kept=kept,
    )[0]


def load_reward_model(folder: str | Path, device: str = "cpu") -> Any:
    """The reward model that ``train_reward`` left in ``folder`` (or a saved model itself). Raises GuerdonError where
    there is none."""
    path = Path(folder)
    if not path.exists():
        raise GuerdonError(f"{path} does not exist; give the folder that `guerdon train-reward … --out` wrote.")
    inner = path / MODEL
    return load_saved(inner if inner.is_dir() else path, device=device)


def evaluate(
    reward: TextScorer | str | Path,
    data: Records | str | Path,
    *,
    device: str = "cpu",
    threads: int = 0,
    measure: Callable[[str], int] = len,
) -> RewardModelReport:
    """Accuracy with its interval, calibration and length dependence of a reward model on comparisons.

    reward: a model, or a folder of ``train_reward``. An ensemble is judged by the mean of its members. Raises
    GuerdonError for bad data, a folder without a model, or a score that is not finite.
    """
    model = load_reward_model(reward, device) if isinstance(reward, str | Path) else reward
    records = read(data) if isinstance(data, str | Path) else list(data)
    parameters = sum(p.numel() for p in model.parameters()) if isinstance(model, torch.nn.Module) else TINY
    with thread_count(threads, parameters):
        return _report(*pair_scores(model, records), records, measure)


def _report(chosen: Tensor, rejected: Tensor, records: Records, measure: Callable[[str], int]) -> RewardModelReport:
    lengths = _lengths(records, measure)
    return evaluate_reward_model(chosen.mean(1), rejected.mean(1), lengths[:, 0], lengths[:, 1])


def _lengths(records: Records, measure: Callable[[str], int]) -> Tensor:
    """(winner, loser) lengths [P,2], row by row as ``pair_scores`` gives scores."""
    rows = [(r.response_text(w), r.response_text(l)) for r in records for w, l, _, _ in r.pairs()]
    return torch.tensor([[measure(w), measure(l)] for w, l in rows], dtype=torch.float64).reshape(-1, 2)


def _length_weight(train: Records, test: Records, measure: Callable[[str], int] = len) -> float | None:
    try:
        return length_baseline(train, test, measure).weight
    except GuerdonError:
        return None


def length_only(records: Records, weight: float, measure: Callable[[str], int] = len) -> Interval | None:
    """Accuracy of choosing by length alone, the longer for a positive weight; equal lengths count ½. None without
    pairs."""
    lengths = length_differences(records, measure)
    gap = (lengths[:, 0] - lengths[:, 1]) * (1.0 if weight >= 0 else -1.0)
    right = float((gap > 0).double().sum() + 0.5 * (gap == 0).double().sum())
    return wilson(right, len(gap)) if len(gap) else None


def judged(
    model: Any,
    records: Records,
    length_weight: float | None = None,
    measure: Callable[[str], int] = len,
    unit: str = "characters",
) -> dict[str, Any]:
    """What ``evaluation.json`` holds: the report, each member's accuracy, the length-only baseline, the pairs'
    margins."""
    z_w, z_l = pair_scores(model, records)
    report = _report(z_w, z_l, records, measure)
    right = (z_w > z_l).double() + 0.5 * (z_w == z_l).double()
    members = [asdict(wilson(float(right[:, k].sum()), len(right))) for k in range(right.shape[1])]
    lengths = length_only(records, 1.0 if length_weight is None else length_weight, measure)
    margin = (z_w - z_l).mean(1)
    gap = _lengths(records, measure)
    return {
        "report": report.to_dict(),
        "members": members,
        "length_only": None if lengths is None else asdict(lengths),
        "length_rule": "longer wins" if (length_weight or 1.0) >= 0 else "shorter wins",
        "unit": unit,
        "margins": [round(x, 4) for x in margin.tolist()][:2000],
        "length_gaps": (gap[:, 0] - gap[:, 1]).tolist()[:2000],
    }


def evaluate_folder(
    folder: str | Path, data: Records | str | Path, device: str = "cpu", threads: int = 0
) -> dict[str, Any]:
    """``judged`` for a folder of ``train_reward``, with the length rule learned from its own training pairs."""
    model = load_reward_model(folder, device)
    records: Sequence[Preference] = read(data) if isinstance(data, str | Path) else list(data)
    about = Path(folder) / ABOUT
    known: Mapping[str, Any] = read_json(about) if about.is_file() else {}
    with thread_count(threads, sum(p.numel() for p in model.parameters())):
        return judged(model, records, known.get("length_weight"))
