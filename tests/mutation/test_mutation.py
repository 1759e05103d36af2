"""Changes are those that are meant, they go to the tests that reach them, and the list of idle ones is not stale."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.mutation.__main__ import ROOT
from tests.mutation.equivalent import equivalent
from tests.mutation.operators import mutants
from tests.mutation.reach import EVERY, FAR, reaching

SOURCE = '''"""Text - 1."""
LIMIT = 1e30

def loss(x: float = 0.5):
    """1 + 1"""
    gap = (x - 1).clamp(min=0).detach()
    return torch.where(gap > 0, gap.sum(-1), -gap)
'''


def test_signs_constants_detaches_and_sides_are_changed_and_nothing_else():
    assert {m.what for m in mutants(SOURCE)} == {
        "0.5 -> 1.5",
        "(x - 1).clamp(min=0).detach() -> (x - 1).clamp(min=0)",
        "(x - 1).clamp(min=0) -> x - 1",
        "x - 1 -> x + 1",
        "1 -> 2",
        "0 -> 1",
        "torch.where(gap > 0, gap.sum(-1), -gap) -> torch.where(gap > 0, -gap, gap.sum(-1))",
        "gap > 0 -> gap < 0",
        "-gap -> gap",
    }
    assert all(compile(m.source, "changed", "exec") for m in mutants(SOURCE))


@pytest.mark.parametrize("file", equivalent())
def test_every_change_that_is_left_out_can_still_be_made(file: str):
    known = {(m.text, m.what) for m in mutants((ROOT / file).read_text())}
    assert not set(equivalent()[file]) - known


def test_a_change_goes_to_the_tests_that_reach_it(tmp_path: Path):
    path = tmp_path / "part.py"
    path.write_text("A = 1\n\n\ndef f():\n    return 1\n\n\ndef g():\n    return 2\n")
    f, g = (str(path), 4), (str(path), 8)
    seen = {
        "a.py": {g},
        "a.py::wide": {f, g},
        "a.py::narrow": {f},
        "a.py::looks": set(),
        "b.py::far": {g},
        "p.py": {f},
        "p.py::property": set(),
    }
    chosen = reaching(seen, "p.py")
    assert chosen(path, 5).ranks == {"a.py::wide": 2, "a.py::narrow": 1, "a.py::looks": FAR}
    assert chosen(path, 9).ranks == {"a.py::wide": 2, "a.py::narrow": FAR, "a.py::looks": FAR, "b.py::far": 1}
    assert chosen(path, 5).files() == ["a.py"] and chosen(path, 9).files() == ["b.py", "a.py"]
    assert set(chosen(path, 1).ranks) == {at for at in seen if "::" in at}
    assert set(reaching({**seen, EVERY: {f}}, "p.py")(path, 5).ranks) == {at for at in seen if "::" in at}
