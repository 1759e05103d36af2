"""Every composition of this folder stays a composition: the functions beside the tests have at most 30 lines."""

import ast
from pathlib import Path

HERE = Path(__file__).parent


def test_every_composition_has_at_most_30_lines():
    seen = 0
    for path in sorted(HERE.glob("test_*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith(("test_", "Test")):
                seen += 1
                length = (node.end_lineno or 0) - node.lineno + 1
                assert length <= 30, f"{path.name}:{node.lineno} {node.name} has {length} lines"
    assert seen >= 13
