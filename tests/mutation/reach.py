"""Which tests reach which part of a room: only these can notice a change of it, and the narrowest of them soonest.

A part is a top-level function or class of a file, named by its first line; what stands outside of any is reached by
every test.
"""

from __future__ import annotations

import ast
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import pytest

Part = tuple[str, int]
"""A file and the first line of a top-level statement."""
EVERY = ""
"""In place of a test: whatever is called while guerdon itself is imported."""
FAR = 10**6
"""The rank of a test that reaches a part only as its file, or guerdon, is imported."""


def parts_of(path: Path) -> dict[int, int]:
    """The first line of the top-level function or class that each line belongs to."""
    found = {}
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            first = min([node.lineno, *(d.lineno for d in node.decorator_list)])
            found.update(dict.fromkeys(range(first, (node.end_lineno or first) + 1), first))
    return found


class Recorder:
    """A pytest plugin that notes which parts are called by each test; by a whole test file, while it is imported."""

    def __init__(self, package: Path, files: Sequence[Path], store: Path) -> None:
        self.package, self.store = f"{package}/", store
        self.parts = {str(path): parts_of(path) for path in files}
        self.seen: dict[str, set[Part]] = {}
        self.at = EVERY
        self.known: dict[CodeType, Part | None] = {}

    def called(self, frame: FrameType, event: str, _: Any) -> None:
        if event != "call":
            return
        code = frame.f_code
        if code not in self.known:
            line = self.parts.get(code.co_filename, {}).get(code.co_firstlineno)
            self.known[code] = None if line is None else (code.co_filename, line)
        if (part := self.known[code]) is not None:
            at = EVERY if "::" not in self.at and self.importing(frame) else self.at
            self.seen.setdefault(at, set()).add(part)

    def importing(self, frame: FrameType | None) -> bool:
        """Whether a module of the package is what calls."""
        while frame is not None:
            if frame.f_code.co_name == "<module>" and frame.f_code.co_filename.startswith(self.package):
                return True
            frame = frame.f_back
        return False

    def save(self) -> None:
        self.store.write_text(json.dumps({at: sorted(parts) for at, parts in self.seen.items()}))

    def load(self) -> dict[str, set[Part]]:
        """What ``save`` wrote, maybe in another process."""
        return {at: {(file, line) for file, line in parts} for at, parts in json.loads(self.store.read_text()).items()}

    def during(self, at: str) -> Iterator[None]:
        self.at = at
        sys.setprofile(self.called)
        yield
        sys.setprofile(None)
        self.at = EVERY

    @pytest.hookimpl(hookwrapper=True)
    def pytest_make_collect_report(self, collector: pytest.Collector) -> Iterator[None]:
        yield from self.during(collector.nodeid.split("::")[0])

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        self.seen[item.nodeid] = set()
        yield from self.during(item.nodeid)


@dataclass(frozen=True)
class Chosen:
    """A pytest plugin that keeps the tests with a rank, lowest first."""

    ranks: Mapping[str, int]

    def files(self) -> list[str]:
        """The files of these tests, those with the lowest rank first."""
        return list(dict.fromkeys(at.split("::")[0] for at in sorted(self.ranks, key=lambda at: self.ranks[at])))

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        kept = [item for item in items if item.nodeid in self.ranks]
        items[:] = sorted(kept, key=lambda item: self.ranks[item.nodeid])


def reaching(seen: Mapping[str, set[Part]], direct: str) -> Callable[[Path, int], Chosen]:
    """Of a file and a line: the tests that reach it, those that reach the fewest parts first.

    A test counts too where its file reaches the line while it is imported, or where it calls no part at all: it looks
    at the code itself, as at a signature. Not so in the file ``direct``, whose tests are too many: what is left out
    there can only make more changes seem unnoticed.
    """
    tests = [at for at in seen if "::" in at]
    lines: dict[str, dict[int, int]] = {}

    def chosen(path: Path, line: int) -> Chosen:
        first = lines.setdefault(str(path), parts_of(path)).get(line)
        part = (str(path), first or 0)
        everywhere = first is None or part in seen.get(EVERY, ())
        ranks = {}
        for test in tests:
            file = test.split("::")[0]
            looks = file != direct and (part in seen.get(file, ()) or not seen[test])
            if part in seen[test]:
                ranks[test] = len(seen[test])
            elif everywhere or looks:
                ranks[test] = FAR
        return Chosen(ranks)

    return chosen
