"""Rewards beside generation: in worker processes or threads, with time limits, retries, counts and a stated policy for
failures."""

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from guerdon.batch import Channel, Samples, Scores, Status
from guerdon.errors import GuerdonError, RewardError
from guerdon.rewards.interface import Context, Reward, State
from guerdon.rewards.workers import Outcome, Workers

POLICIES = {"fail": Status.FAILED, "not_applicable": Status.NOT_APPLICABLE, "raise": None}


@dataclass
class Counts:
    """What a Runner has done: rows ok, rows given up, attempts that timed out, attempts repeated, seconds of
    scoring."""

    ok: int = 0
    failed: int = 0
    timed_out: int = 0
    retried: int = 0
    seconds: float = 0.0
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    def add(self, **more: float) -> None:
        """Add to the counts; safe from any thread."""
        with self.lock:
            for name, value in more.items():
                setattr(self, name, getattr(self, name) + value)

    def as_dict(self) -> dict[str, float]:
        """The counts for a log."""
        return {k: getattr(self, k) for k in ("ok", "failed", "timed_out", "retried", "seconds")}


class Runner(Reward):
    """A row-wise reward run a row at a time, away from the main thread; itself a reward.

    timeout_s: limit of one attempt, counted from when a worker starts the row. retries: further attempts after a failed
    one. workers: rows at once. on_failure: 'fail' marks the row FAILED, 'not_applicable' leaves it out, 'raise' raises
    RewardError naming the row. isolate: 'process' kills what hangs (the reward must be importable); 'thread' runs
    anything, but can only abandon what hangs, and a thread stays lost. A failed row's note says why.

    The reward must be stateless and may look at one row alone; row i draws from ``context.seed.child('row', i)``.
    """

    def __init__(
        self,
        reward: Reward,
        *,
        timeout_s: float | None = None,
        retries: int = 0,
        workers: int = 1,
        on_failure: str = "fail",
        isolate: str = "process",
    ) -> None:
        if on_failure not in POLICIES:
            raise GuerdonError(f"on_failure must be one of {sorted(POLICIES)}, but {on_failure!r} came.")
        if isolate not in ("process", "thread"):
            raise GuerdonError(f"isolate must be 'process' or 'thread', but {isolate!r} came.")
        if reward.init():
            raise GuerdonError(
                f"Runner takes stateless rewards, but {reward.name!r} has state; wrap its leaves instead."
            )
        self.reward = reward
        self.name = reward.name
        self.needs = tuple(reward.needs)
        self.channels = tuple(reward.channels)
        self.timeout_s = timeout_s
        self.retries = retries
        self.workers = workers
        self.isolate = isolate
        self.on_failure = on_failure
        self.counts = Counts()
        self._pool: Workers | _Threads = Workers(workers) if isolate == "process" else _Threads(workers)
        self._batches = ThreadPoolExecutor(4, thread_name_prefix="guerdon-runner")

    def options(self) -> dict[str, Any]:
        """The settings, as ``runner`` takes them."""
        names = ("timeout_s", "retries", "workers", "on_failure", "isolate")
        return {name: getattr(self, name) for name in names}

    def spec(self) -> tuple[str, dict[str, Any]]:
        """(factory, arguments) for serialisation."""
        return "guerdon.rewards.running:runner", {"reward": self.reward, **self.options()}

    def __reduce__(self) -> tuple[Any, ...]:
        # Pools do not travel: a copy starts its own workers on first use.
        return _rebuilt, (self.reward, self.options())

    def submit(self, samples: Samples, context: Context | None = None) -> "Future[Scores]":
        """Start scoring and return at once; ``.result()`` gives the Scores."""
        return self._batches.submit(self._all, samples, context or Context())

    def score(self, samples: Samples, state: State, context: Context) -> tuple[Scores, State]:
        """Score and wait."""
        return self._all(samples, context), state

    def close(self) -> None:
        """End the workers after what is queued."""
        self._pool.close()
        self._batches.shutdown(wait=False)

    def __enter__(self) -> "Runner":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _all(self, samples: Samples, context: Context) -> Scores:
        start = time.monotonic()
        calls = []
        for i in range(len(samples)):
            mine = replace(context, log=None, seed=context.seed.child("row", i))
            calls.append((self.reward, samples.take(torch.tensor([i])), mine))
        pending = [self._pool.submit(score_row, *call, timeout_s=self.timeout_s) for call in calls]
        outcomes = [f.result() for f in pending]
        for _ in range(self.retries):
            again = [i for i, o in enumerate(outcomes) if o.status != "ok"]
            self._note(outcomes, again)
            self.counts.add(retried=len(again))
            repeated = [self._pool.submit(score_row, *calls[i], timeout_s=self.timeout_s) for i in again]
            for i, f in zip(again, repeated, strict=True):
                outcomes[i] = f.result()
        lost = [i for i, o in enumerate(outcomes) if o.status != "ok"]
        self._note(outcomes, lost)
        self.counts.add(ok=len(outcomes) - len(lost), failed=len(lost), seconds=time.monotonic() - start)
        if lost and self.on_failure == "raise":
            raise RewardError(f"Reward {self.name!r} failed on row {lost[0]}: {outcomes[lost[0]].note}.")
        return assemble(outcomes, self.channels or (self.name,), POLICIES[self.on_failure] or Status.FAILED)

    def _note(self, outcomes: Sequence[Outcome], rows: Sequence[int]) -> None:
        self.counts.add(timed_out=sum(outcomes[i].status == "timed out" for i in rows))


def runner(reward: Reward, **options: Any) -> Runner:
    """``Runner(reward, **options)`` as a function, by which graphs are stored."""
    return Runner(reward, **options)


def _rebuilt(reward: Reward, options: dict[str, Any]) -> Runner:
    return Runner(reward, **options)


def score_row(reward: Reward, samples: Samples, context: Context) -> Scores:
    """What a worker runs for one row."""
    try:
        return reward.score(samples, reward.init(), context)[0]
    except RewardError as error:
        if isinstance(error.__cause__, Exception):  # it names row 0 of this one row; the Runner knows the real one
            raise error.__cause__ from None
        raise


def assemble(outcomes: Sequence[Outcome], names: Sequence[str], lost: Status) -> Scores:
    """One Scores of N rows from N outcomes of one row each; rows without a result get status ``lost`` and the reason as
    note.

    Raises RewardError where rows disagree on the channels or give one value a step.
    """
    found = next((o.value.names() for o in outcomes if o.status == "ok"), tuple(names))
    out = {}
    for name in found:
        values: list[Tensor] = []
        statuses: list[int] = []
        notes: list[str] = []
        for i, o in enumerate(outcomes):
            if o.status != "ok":
                values.append(torch.tensor(float("nan")))
                statuses.append(int(lost))
                notes.append(o.note)
                continue
            if o.value.names() != found:
                raise RewardError(f"Row {i} gave the channels {o.value.names()}, but the first row gave {found}.")
            channel: Channel = o.value[name]
            if channel.value.ndim != 1:
                raise RewardError(f"Runner takes one value a row, but {name!r} gives one a step.")
            values.append(channel.value[0].detach())
            statuses.append(int(channel.statuses()[0]))
            notes.append(channel.note[0] if channel.note is not None else "")
        status = torch.tensor(statuses, dtype=torch.int8) if any(statuses) else None
        value = torch.stack(values).float() if values else torch.zeros(0)
        out[name] = Channel(value, status, note=notes if any(notes) else None)
    return Scores(out)


class _Threads:
    """The pool's thread twin: same contract, but what hangs can only be abandoned (its slot is given to a fresh
    thread)."""

    def __init__(self, count: int) -> None:
        self._watch = ThreadPoolExecutor(count, thread_name_prefix="guerdon-thread")

    def submit(
        self, function: Callable[..., Any], *arguments: Any, timeout_s: float | None = None
    ) -> "Future[Outcome]":
        return self._watch.submit(self._one, function, arguments, timeout_s)

    def _one(self, function: Callable[..., Any], arguments: tuple[Any, ...], timeout: float | None) -> Outcome:
        box: list[Outcome] = []
        start = time.monotonic()

        def work() -> None:
            try:
                box.append(Outcome("ok", function(*arguments), "", time.monotonic() - start))
            except Exception as error:
                box.append(Outcome("raised", None, f"{type(error).__name__}: {error}", time.monotonic() - start))

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        thread.join(timeout)
        return box[0] if box else Outcome("timed out", None, f"timed out after {timeout:g} s", time.monotonic() - start)

    def close(self) -> None:
        self._watch.shutdown(wait=False)
