"""Rows of many callers scored in few calls of one reward, in one thread: for hosts that ask for one response at a
time, from many tasks or threads at once."""

import threading
import time
from collections import deque
from collections.abc import Hashable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from guerdon.errors import GuerdonError, RewardError
from guerdon.integrations.crossing import row_wise
from guerdon.rewards.bind import Answer, Bound


class Busy(GuerdonError):
    """No room for more rows now; ask again later."""


@dataclass(frozen=True)
class Rows:
    """What one caller wants scored: prompts and responses [N], columns: name -> [N]."""

    prompts: Sequence[Any]
    responses: Sequence[Any]
    columns: Mapping[str, Sequence[Any]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.responses)

    def kind(self) -> Hashable:
        """Equal for rows that may stand in one call: the same columns, and texts or messages alike."""
        texts = [all(isinstance(x, str) for x in part) for part in (self.prompts, self.responses)]
        return (*texts, *sorted(self.columns))


def joined(parts: Sequence[Rows]) -> Rows:
    """Rows of one kind one after the other."""
    return Rows(
        [p for rows in parts for p in rows.prompts],
        [r for rows in parts for r in rows.responses],
        {name: [v for rows in parts for v in rows.columns[name]] for name in parts[0].columns},
    )


@dataclass(frozen=True)
class _Job:
    rows: Rows
    kind: Hashable
    future: "Future[list[Answer]]"


class Batcher:
    """Callers' rows in the order they came, scored by one thread, so that the reward need not be safe for threads.

    together: whether waiting rows of several callers go into one call of the reward, at most ``rows`` of them, the
    first of which waits up to ``wait_s`` seconds for company; by default only where every score is known to depend on
    its own row alone (``row_wise``). A caller's rows are never split: group statistics see them whole. Where a joint
    call raises, each caller's rows are scored again alone, so that only the guilty caller gets the error.
    queued_rows: how many rows may wait.

    A reward that hangs holds up everybody behind it, since no thread can be ended from outside: give such rewards a
    time limit of their own (``guerdon.rewards.Runner``).
    """

    def __init__(
        self,
        bound: Bound,
        *,
        together: bool | None = None,
        rows: int = 256,
        wait_s: float = 0.002,
        queued_rows: int = 8192,
    ) -> None:
        self.bound = bound
        self.together = row_wise(bound.reward) if together is None else together
        self.rows, self.wait_s, self.queued_rows = rows, wait_s, queued_rows
        self.waiting_rows = self.calls = self.scored_rows = 0
        self.busy_since: float | None = None
        self._jobs: deque[_Job] = deque()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._closed = False

    def submit(self, rows: Rows) -> "Future[list[Answer]]":
        """Queue the rows; the future gives an answer a row, or raises as ``Bound.answers`` does. Raises Busy at once
        where too many rows wait already, or after ``close``."""
        job = _Job(rows, rows.kind(), Future())
        with self._changed:
            if self._closed:
                raise Busy("This reward is being shut down and takes no more rows.")
            if self.waiting_rows + len(rows) > self.queued_rows:
                raise Busy(
                    f"{self.waiting_rows} rows wait to be scored and {len(rows)} more would be over {self.queued_rows}."
                )
            self._jobs.append(job)
            self.waiting_rows += len(rows)
            # Also after a fork, which takes threads away.
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._work, name="guerdon-batcher", daemon=True)
                self._thread.start()
            self._changed.notify()
        return job.future

    def close(self, timeout_s: float | None = None) -> bool:
        """Take no more rows, score what waits, and end the thread; whether it ended in time."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join(timeout_s)
        return self._thread is None or not self._thread.is_alive()

    def busy_for(self) -> float:
        """Seconds that the call now running has taken, 0 while none runs."""
        since = self.busy_since
        return 0.0 if since is None else time.monotonic() - since

    def _work(self) -> None:
        while batch := self._take():
            # A caller that gave up is not scored.
            live = [job for job in batch if job.future.set_running_or_notify_cancel()]
            if live:
                self._score(live)

    def _take(self) -> list[_Job]:
        """The next jobs to score in one call; none once closed and empty."""
        with self._changed:
            while not self._jobs and not self._closed:
                self._changed.wait()
            batch: list[_Job] = []
            taken, until = 0, time.monotonic() + self.wait_s
            while True:
                while self._jobs and (not batch or self._fits(self._jobs[0], batch[0], taken)):
                    job = self._jobs.popleft()
                    self.waiting_rows -= len(job.rows)
                    batch.append(job)
                    taken += len(job.rows)
                left = until - time.monotonic()
                if not self.together or self._jobs or self._closed or taken >= self.rows or left <= 0:
                    return batch
                self._changed.wait(left)

    def _fits(self, job: _Job, first: _Job, taken: int) -> bool:
        return self.together and job.kind == first.kind and taken + len(job.rows) <= self.rows

    def _score(self, jobs: Sequence[_Job]) -> None:
        try:
            answers = self._call(joined([job.rows for job in jobs]))
        except GuerdonError as error:
            if len(jobs) == 1:
                jobs[0].future.set_exception(error)
                return
            for job in jobs:
                self._score([job])
            return
        start = 0
        for job in jobs:
            job.future.set_result(answers[start : start + len(job.rows)])
            start += len(job.rows)

    def _call(self, rows: Rows) -> list[Answer]:
        self.calls += 1
        self.scored_rows += len(rows)
        self.busy_since = time.monotonic()
        try:
            return self.bound.answers(rows.prompts, rows.responses, rows.columns)
        except GuerdonError:
            raise
        except BaseException as error:  # one that ends this thread would leave every later caller waiting
            raise RewardError(f"The reward {self.bound.reward.name!r} raised {type(error).__name__}.") from error
        finally:
            self.busy_since = None
