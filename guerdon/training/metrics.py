"""What a run measures, under the names other trainers use, and where it goes: JSON lines, trackers, a progress
callback."""

import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor

from guerdon import divergences, reduce
from guerdon.batch import Batch, Samples, Scores, TokenRows
from guerdon.errors import DataError
from guerdon.files import write_text

X = TypeVar("X")


class Sums(dict[str, tuple[float, float]]):
    """name -> (sum, count); a count of 0 marks a plain sum."""


def add(sums: Sums, more: Mapping[str, tuple[float, float]]) -> None:
    """Add sums and counts by name."""
    for key, (total, count) in more.items():
        before = sums.get(key, (0.0, 0.0))
        sums[key] = (before[0] + total, before[1] + count)


# Names of a term's own metrics in other trainers.
KNOWN = {
    "chosen": "rewards/chosen",
    "rejected": "rewards/rejected",
    "margin": "rewards/margins",
    "accuracy": "rewards/accuracies",
    "clip_fraction": "clip_ratio",
    "kl_old": "approx_kl",
}


def renamed(metrics: Mapping[str, X]) -> dict[str, X]:
    """An objective's metrics: 'dpo/chosen' as 'rewards/chosen' and so on where one term alone has it; the rest as it
    is."""
    ends = [k.rpartition("/")[2] for k in metrics]
    return {
        KNOWN[e] if e in KNOWN and ends.count(e) == 1 else k: x for (k, x), e in zip(metrics.items(), ends, strict=True)
    }


def of_batch(batch: Batch) -> dict[str, tuple[float, float]]:
    """KL to the reference, entropy, and log-probs of both sides of pairs, as (sum, count), from whatever is there.

    kl: the k3 estimate a step; objective/kl: Σ_t log π − log π_ref a row (k1). logps/chosen, /rejected: Σ_t log π;
    log_ratios/chosen, /rejected: the same minus the reference's, which the choice of pairs moves less.
    """
    steps = batch.steps
    if steps is None or "policy" not in steps.logp:
        return {}
    out: dict[str, tuple[float, float]] = {}
    with torch.no_grad():
        live, rows = float(steps.mask.sum()), float(steps.mask.any(-1).sum())
        policy = steps.logprob("policy")
        if "reference" in steps.logp:
            k3 = divergences.kl_estimate(steps.log_ratio(), "k3", gradient="none")
            out["kl"] = (float(reduce.total(k3, steps.mask).sum()), live)
            out["objective/kl"] = (float(steps.log_ratio().sum()), rows)
        if "entropy" in steps.stats:
            out["entropy"] = (float(steps.stat("entropy").sum()), live)
        if batch.pairs is not None and len(batch.pairs):
            total = reduce.total(policy, steps.mask)
            ratio = reduce.total(steps.log_ratio(), steps.mask) if "reference" in steps.logp else None
            for side, at in (("chosen", batch.pairs.winner), ("rejected", batch.pairs.loser)):
                out[f"logps/{side}"] = (float(total[at].sum()), float(len(at)))
                if ratio is not None:
                    out[f"log_ratios/{side}"] = (float(ratio[at].sum()), float(len(at)))
    return out


def of_rollout(samples: Samples, scores: Scores, failed: Tensor, absent: Tensor) -> dict[str, float]:
    """Rewards and lengths of a round before rows are left out.

    reward, reward_std: of the single channel, over usable rows (std over prompts' groups of at least two, averaged,
    unbiased); rewards/<channel>/mean and /std for each; frac_reward_zero_std: share of prompts whose rewards are all
    equal; frac_reward_failed, frac_reward_absent: shares of rows left out. completions/*: lengths in steps, share of
    truncated rows.
    """
    out: dict[str, float] = {}
    for name, channel in scores.channels.items():
        value = _row_value(channel.filled(), channel.ok)
        ok = channel.ok if channel.value.ndim == 1 else channel.ok.any(-1)
        if bool(ok.any()):
            kept = value[ok]
            out[f"rewards/{name}/mean"] = float(kept.mean())
            out[f"rewards/{name}/std"] = float(kept.std()) if len(kept) > 1 else 0.0
            if len(scores) == 1:
                out["reward"] = out[f"rewards/{name}/mean"]
                out.update(_groups(value, ok, samples.partition("prompt").ids))
    if len(scores):
        out["frac_reward_failed"] = float(failed.float().mean())
        out["frac_reward_absent"] = float(absent.float().mean())
    if isinstance(samples.payload, TokenRows):
        length = samples.payload.response.sum(-1).float()
        out.update({f"completions/{k}_length": float(getattr(length, k)()) for k in ("mean", "min", "max")})
        out["num_tokens"] = float(length.sum())
    if samples.truncated is not None:
        out["completions/clipped_ratio"] = float(samples.truncated.float().mean())
    return out


def _row_value(value: Tensor, ok: Tensor) -> Tensor:
    return value.detach().float() if value.ndim == 1 else reduce.total(value.detach().float(), ok)


def _groups(value: Tensor, ok: Tensor, ids: Tensor) -> dict[str, float]:
    dense, groups = reduce.dense_ids(ids, ok)
    several = reduce.per_group_count(dense, groups, ok) > 1
    if not bool(several.any()):
        return {}
    spread = reduce.per_group_std(value, dense, groups, ok)[several]
    equal = (reduce.per_group_max(value, dense, groups, ok) == reduce.per_group_min(value, dense, groups, ok))[several]
    return {"reward_std": float(spread.mean()), "frac_reward_zero_std": float(equal.float().mean())}


class Writer(Protocol):
    """A place for metrics."""

    def write(self, round: int, metrics: Mapping[str, float]) -> None:
        """One round's record."""
        ...

    def close(self) -> None:
        """Called once at the end, also after an error."""
        ...


@dataclass(frozen=True)
class Progress:
    """round of rounds is done; metrics of it; rate: rounds a second since this process began; remaining: seconds left,
    at that rate."""

    round: int
    rounds: int
    metrics: Mapping[str, float]
    rate: float
    remaining: float


@dataclass
class Clock:
    """Rate and remaining time from the rounds done by this process."""

    rounds: int
    began: float = field(default_factory=time.monotonic)
    done: int = 0

    def tick(self, round: int, metrics: Mapping[str, float]) -> Progress:
        """After ``round`` rounds in all."""
        self.done += 1
        rate = self.done / max(1e-9, time.monotonic() - self.began)
        return Progress(round, self.rounds, metrics, rate, (self.rounds - round) / rate)


class JsonLines:
    """Appends one JSON object a round and flushes it. NaN and infinities are written as null.

    ``rounds``: how many rounds are already done; later lines, and a half-written last one, are cut off first, so that
    no round stands there twice. Raises DataError where a kept line cannot be read.
    """

    def __init__(self, path: Path, rounds: int = 0) -> None:
        self.path = path
        write_text(path, "".join(json.dumps(x) + "\n" for x in history_of(path) if x["round"] <= rounds))
        self.file = path.open("a", encoding="utf-8")

    def write(self, round: int, metrics: Mapping[str, float]) -> None:
        """One line."""
        clean = {k: v if math.isfinite(v) else None for k, v in metrics.items()}
        self.file.write(json.dumps(clean) + "\n")
        self.file.flush()

    def close(self) -> None:
        """Close the file."""
        self.file.close()


def history_of(path: Path) -> list[dict[str, float]]:
    """The records of a metrics file, in order; [] where it is absent. A last line without its end (a kill) is ignored.

    Raises DataError naming the line that is not JSON.
    """
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").split("\n")[:-1]
    out = []
    for number, line in enumerate(lines, 1):
        try:
            record = json.loads(line)
        except json.JSONDecodeError as error:
            raise DataError(
                f"{path}:{number}: a JSON object was expected, but the line does not parse ({error.msg})."
            ) from error
        if not isinstance(record, dict) or "round" not in record:
            raise DataError(
                f"{path}:{number}: a record of a run with its 'round' was expected, but {line[:60]!r} came."
            )
        out.append(record)
    return out


class Trackers:
    """Accelerate's trackers as a writer: ``trackers`` are GeneralTracker objects, or names ('tensorboard', 'wandb',
    'all') which Accelerate must know and find installed."""

    def __init__(
        self,
        trackers: Sequence[Any],
        project: str = "guerdon",
        config: Mapping[str, Any] | None = None,
        folder: str | None = None,
    ) -> None:
        from accelerate import Accelerator

        self.accelerator = Accelerator(log_with=list(trackers), project_dir=folder)
        self.accelerator.init_trackers(project, config=dict(config or {}))

    def write(self, round: int, metrics: Mapping[str, float]) -> None:
        """Log to every tracker, with the round as step."""
        self.accelerator.log(dict(metrics), step=round)

    def close(self) -> None:
        """Finish every tracker. (``end_training`` would also end the process group, which others still use.)"""
        for tracker in self.accelerator.trackers:
            tracker.finish()


def jsonl(out: Path | None, rounds: int) -> list[Writer]:
    """The metrics file of a run's folder, or nothing."""
    return [] if out is None else [JsonLines(out / "metrics.jsonl", rounds)]
