"""Calls in child processes with time limits that hold: whatever hangs is killed, off the main thread and without signal
handlers.

A child is a fresh interpreter (nothing is forked, so threads and accelerators of the parent are safe). Functions travel
by import path; what is defined in ``__main__`` or inside a function cannot.
"""

import atexit
import contextlib
import io
import os
import pickle
import queue
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from guerdon.errors import GuerdonError
from guerdon.rewards.worker_main import read_message, write_message


@dataclass(frozen=True)
class Outcome:
    """How one call ended. status: 'ok', 'raised', 'timed out' or 'died'; seconds: from the child's start of the
    call."""

    status: str
    value: Any
    note: str
    seconds: float


@dataclass
class _Task:
    payload: bytes
    timeout: float | None
    future: "Future[Outcome]"


class Workers:
    """A pool of ``count`` child processes, each with a thread of the parent that watches it.

    The clock of a call starts when its child starts it, not while it is queued, and stands still while the child starts
    up. A child that overruns or dies is replaced; the pool is never blocked by it. Children start on first use and end
    with ``close`` or when the pool is collected.
    """

    def __init__(self, count: int = 1) -> None:
        if count < 1:
            raise GuerdonError(f"Workers need count >= 1, but {count} came.")
        self._tasks: queue.SimpleQueue[_Task | None] = queue.SimpleQueue()
        self._count = count
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._closed = False
        self._finalizer = weakref.finalize(self, _stop, self._tasks, count)

    def submit(
        self, function: Callable[..., Any], *arguments: Any, timeout_s: float | None = None
    ) -> "Future[Outcome]":
        """``function(*arguments)`` in a child; the future never raises, its Outcome says how the call ended.

        Raises GuerdonError where the call cannot be pickled.
        """
        payload = _pickled((function, arguments))
        future: Future[Outcome] = Future()
        with self._lock:
            if self._closed:
                raise GuerdonError("These workers are closed.")
            if len(self._threads) < self._count:
                thread = threading.Thread(target=_serve, args=(self._tasks,), daemon=True, name="guerdon-worker")
                self._threads.append(thread)
                thread.start()
        self._tasks.put(_Task(payload, timeout_s, future))
        return future

    def close(self) -> None:
        """End the children after what is queued."""
        with self._lock:
            self._closed = True
        self._finalizer()


class _Pickler(pickle.Pickler):
    """Refuses what a fresh interpreter could not import, before it fails there."""

    def reducer_override(self, x: Any) -> Any:
        owner = getattr(x, "function", x)
        if "__main__" in (getattr(owner, "__module__", None), getattr(x, "__module__", None)):
            raise GuerdonError(
                "A reward run in a worker process must stand in an importable module, but this one stands in __main__; "
                "move it to a file of its own, or use isolate='thread'."
            )
        return NotImplemented


def _pickled(x: Any) -> bytes:
    out = io.BytesIO()
    try:
        _Pickler(out, protocol=pickle.HIGHEST_PROTOCOL).dump(x)
    except GuerdonError:
        raise
    except Exception as error:
        raise GuerdonError(f"A reward run in a worker process must be importable and picklable: {error}.") from error
    return out.getvalue()


class _Child:
    """One child process and the thread that reads it, so that waiting has a limit on every platform."""

    def __init__(self) -> None:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "guerdon.rewards.worker_main"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
        )
        _LIVE.add(self.process)
        self.answers: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()
        threading.Thread(target=self._read, daemon=True, name="guerdon-worker-reader").start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        try:
            while True:
                self.answers.put(read_message(self.process.stdout))
        except (EOFError, OSError, ValueError, pickle.UnpicklingError, ImportError, AttributeError) as error:
            self.answers.put(("died", f"the worker process ended: {error}"))

    def send(self, payload: bytes) -> None:
        assert self.process.stdin is not None
        write_message(self.process.stdin, payload)

    def receive(self, timeout: float | None) -> tuple[str, Any]:
        """The next answer, or ('timed out', None)."""
        try:
            return self.answers.get(timeout=timeout)
        except queue.Empty:
            return "timed out", None

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        _LIVE.discard(self.process)
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):  # a broken pipe has nothing left to flush
                    stream.close()


def _serve(tasks: "queue.SimpleQueue[_Task | None]") -> None:
    """One watcher: take calls, run them in its child, replace the child where it overran or died."""
    child: _Child | None = None
    while (task := tasks.get()) is not None:
        if not task.future.set_running_or_notify_cancel():
            continue
        if child is None:
            child = _Child()
            child.receive(None)  # 'ready', or 'died', which the next step finds out
        outcome = _run(child, task)
        if outcome.status in ("timed out", "died"):
            child.kill()
            child = None
        task.future.set_result(outcome)
    if child is not None:
        child.kill()


def _run(child: _Child, task: _Task) -> Outcome:
    try:
        child.send(task.payload)
    except OSError as error:
        return Outcome("died", None, f"the worker process ended: {error}", 0.0)
    kind, value = child.receive(None)
    start = time.monotonic()
    if kind == "started":
        kind, value = child.receive(task.timeout)
    seconds = time.monotonic() - start
    if kind == "timed out":
        return Outcome(kind, None, f"timed out after {task.timeout:g} s", seconds)
    return Outcome(kind, value if kind == "ok" else None, "" if kind == "ok" else str(value), seconds)


_LIVE: "set[subprocess.Popen[bytes]]" = set()


@atexit.register
def _end_all() -> None:
    """A child that hangs would outlive the interpreter otherwise."""
    for process in list(_LIVE):
        process.kill()


def _stop(tasks: "queue.SimpleQueue[_Task | None]", count: int) -> None:
    for _ in range(count):
        tasks.put(None)
