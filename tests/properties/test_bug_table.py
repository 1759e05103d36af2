"""docs/bugs.md names tests that exist, and every line of it says a test or a reason."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "bugs.md").read_text()
IDS = sorted(set(re.findall(r"tests/[\w/]+\.py::\w+", PAGE)))
ROWS = [line for line in PAGE.splitlines() if re.match(r"\| [ABC]?\d+ \|", line)]


@pytest.mark.parametrize("test_id", IDS)
def test_the_table_names_a_test_that_exists(test_id):
    path, name = test_id.split("::")
    file = ROOT / path
    assert file.exists(), f"docs/bugs.md names {path}, which does not exist"
    functions = {node.name for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.FunctionDef)}
    assert name in functions, f"docs/bugs.md names {name}, which is not in {path}"


def test_every_line_has_a_test_or_a_reason():
    assert len(ROWS) == 88
    for row in ROWS:
        cells = [cell.strip() for cell in row.strip("|").split("|")]
        assert len(cells) == 3, f"three cells were expected: {row}"
        test, reason = (
            re.search(r"tests/[\w/]+\.py::\w+", cells[2]),
            re.search(r"no such code path: |not built: ", cells[2]),
        )
        assert test or reason, f"neither a test nor a reason: {row}"
