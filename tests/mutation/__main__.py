"""``python -m tests.mutation [ROOM …] [--only FILE] [--processes 2]``: the share of changes that the tests notice.

Every change is tried in a forked process whose import system hands out the changed file; torch and the test libraries
are loaded once, before the fork. A first run notes which tests reach which functions, so that a change is tried on the
tests that could notice it. It is noticed where one of them fails or does not end in time.
"""

from __future__ import annotations

import argparse
import gc
import importlib.abc
import importlib.machinery
import importlib.util
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType

import pytest

from tests.mutation.equivalent import equivalent
from tests.mutation.operators import Mutant, mutants
from tests.mutation.reach import Chosen, Recorder, reaching

ROOT = Path(__file__).resolve().parent.parent.parent
TESTS = {
    "objectives": ("tests/objectives", "tests/shapes"),
    "advantages": ("tests/advantages",),
    "shaping": ("tests/shaping",),
}
PROPERTIES = "tests/properties/test_every_public_function.py"
SECONDS = 300
FIRST = 1800
"""Limits of a run on a change, and of the first run."""
LEAST = 0.95


class Changed(importlib.abc.Loader, importlib.abc.MetaPathFinder):
    """Hands out one module with another source."""

    def __init__(self, name: str, path: Path, source: str) -> None:
        self.name, self.path, self.source = name, path, source

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != self.name:
            return None
        return importlib.util.spec_from_file_location(fullname, self.path, loader=self)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        exec(compile(self.source, str(self.path), "exec"), module.__dict__)


def passing(path: Path, mutant: Mutant | None, room: str, plugin: Chosen | Recorder) -> bool:
    """In a forked process: whether the room's tests and its property tests pass on the changed file."""
    if mutant is not None:
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        sys.meta_path.insert(0, Changed(name, path, mutant.source))
    quiet = ["-q", "-x", "-p", "no:cacheprovider", "-p", "no:unraisableexception", "--no-header", "-W", "ignore"]
    runs: list[Sequence[str]] = [TESTS[room], (PROPERTIES, "-k", room)]
    if isinstance(plugin, Chosen):
        # File by file, because collecting takes longer than most tests; the properties last, which take the longest.
        runs = [(file,) for file in sorted(plugin.files(), key=lambda file: file == PROPERTIES)]
    return all(pytest.main([*quiet, *run], plugins=[plugin]) == 0 for run in runs)


def child(path: Path, mutant: Mutant | None, room: str, plugin: Chosen | Recorder) -> int:
    """Fork; the new process's id."""
    pid = os.fork()
    if pid:
        return pid
    sink = os.open(os.devnull, os.O_WRONLY)
    os.dup2(sink, 1)
    os.dup2(sink, 2)
    signal.alarm(SECONDS if mutant else FIRST)
    code = 2
    try:
        code = 0 if passing(path, mutant, room, plugin) else 1
        if isinstance(plugin, Recorder):
            plugin.save()
    finally:
        os._exit(code)


def tried(
    path: Path, found: Sequence[Mutant], room: str, chosen: Callable[[Path, int], Chosen], processes: int
) -> list[Mutant]:
    """The changes that no test noticed."""
    waiting, running, survived = list(found), dict[int, Mutant](), list[Mutant]()
    told = path.relative_to(ROOT)
    while waiting or running:
        while waiting and len(running) < processes:
            mutant = waiting.pop()
            running[child(path, mutant, room, chosen(path, mutant.line))] = mutant
        pid, status = os.wait()
        mutant = running.pop(pid)
        if os.WIFEXITED(status) and os.WEXITSTATUS(status) == 0:
            survived.append(mutant)
        done = len(found) - len(waiting) - len(running)
        print(f"\r{told}: {done}/{len(found)} tried, {len(survived)} unnoticed ", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return sorted(survived, key=lambda m: m.line)


def reach_of(room: str) -> Callable[[Path, int], Chosen]:
    """Run all tests of a room once, on the sources as they are, and note what each reaches."""
    with tempfile.TemporaryDirectory() as folder:
        recorder = Recorder(ROOT / "guerdon", files_of(room, None), Path(folder) / "seen.json")
        if os.waitstatus_to_exitcode(os.waitpid(child(ROOT, None, room, recorder), 0)[1]) != 0:
            raise SystemExit(f"The tests of {room} fail on the sources as they are; mend them first.")
        return reaching(recorder.load(), PROPERTIES)


def files_of(room: str, only: str | None) -> list[Path]:
    """The room's sources, or those whose name contains ``only``."""
    every = sorted((ROOT / "guerdon" / room).rglob("*.py"))
    return [p for p in every if p.name != "__init__.py" and (only is None or only in p.name)]


def main() -> int:
    """Print a line a file with every unnoticed change, and the share noticed; 1 where it is below LEAST."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=__doc__)
    parser.add_argument("rooms", nargs="*", default=["objectives"], help=f"some of {', '.join(TESTS)}")
    parser.add_argument("--only", help="files whose name contains this")
    parser.add_argument("--sample", type=int, default=0, help="so many changes of a file, drawn at random (0: all)")
    parser.add_argument("--processes", type=int, default=2)
    asked = parser.parse_args()
    # Whatever the many short test sessions would each do again: plugins, compiling, collecting garbage.
    os.environ |= {"OMP_NUM_THREADS": "1", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    for name in ("torch", "hypothesis", "pytest", "numpy", "transformers", "trl"):
        importlib.import_module(name)
    gc.freeze()
    noticed = total = 0
    began = time.monotonic()
    compiled = tempfile.TemporaryDirectory()
    sys.pycache_prefix, sys.dont_write_bytecode = compiled.name, False
    for room in asked.rooms:
        chosen = reach_of(room)
        for path in files_of(room, asked.only):
            file = str(path.relative_to(ROOT))
            alike = equivalent().get(file, {})
            found = [m for m in mutants(path.read_text()) if (m.text, m.what) not in alike]
            if asked.sample:
                found = random.Random(0).sample(found, min(asked.sample, len(found)))
            survived = tried(path, found, room, chosen, asked.processes)
            noticed, total = noticed + len(found) - len(survived), total + len(found)
            print(f"{file}: {len(found) - len(survived)} of {len(found)} noticed")
            for m in survived:
                print(f"  {file}:{m.line} in {m.where}: {m.what}", flush=True)
    share = noticed / max(1, total)
    print(f"\n{noticed} of {total} changes noticed ({100 * share:.1f} %) in {time.monotonic() - began:.0f} s")
    return 0 if share >= LEAST else 1


if __name__ == "__main__":
    sys.exit(main())
