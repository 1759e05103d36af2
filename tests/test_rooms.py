"""The rooms stand in order: a module imports only from its own room and from rooms above it."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "guerdon"

# From the ground up; docs/architecture.md shows the same table. `errors` and the bare package stand above all.
ROOMS = (
    "errors",
    "files",
    "batch",
    "reduce",
    "divergences",
    "logprobs",
    "worlds",
    "preferences",
    "rewards",
    "shaping",
    "advantages",
    "objectives",
    "decoding",
    "data",
    "training",
    "checks",
    "audit",
    "integrations",
    "lab",
    "catalogue",
    "report",
    "verbs",
    "cli",
)
# These work on plain tensors, without trainer, tokenizer or GPU.
TORCH_ALONE = ROOMS[: ROOMS.index("objectives") + 1]
MODULES = sorted(PACKAGE.rglob("*.py"))


def module_id(path: Path) -> str:
    return str(path.relative_to(PACKAGE))


def room_of(path: Path) -> str:
    first = path.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


def imported(tree: ast.AST, path: Path) -> Iterator[tuple[str, int]]:
    """(dotted module, line) of every import in `tree`, relative ones made absolute, wherever they stand."""
    package = ("guerdon", *path.relative_to(PACKAGE).parent.parts)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            module = ".".join(part for part in (base, node.module or "") if part)
            yield module, node.lineno
            # `from guerdon import data` names the room in the alias, not in the module.
            if module == "guerdon":
                yield from ((f"guerdon.{alias.name}", node.lineno) for alias in node.names)


def at_load(tree: ast.Module) -> ast.Module:
    """`tree` without what does not run at import: function bodies and `if TYPE_CHECKING:` blocks."""

    class Strip(ast.NodeTransformer):
        def visit_FunctionDef(self, node: ast.FunctionDef) -> None: ...

        def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None: ...

        def visit_If(self, node: ast.If) -> ast.AST:
            return ast.Pass() if "TYPE_CHECKING" in ast.unparse(node.test) else self.generic_visit(node)

    return Strip().visit(tree)


@pytest.mark.parametrize("path", MODULES, ids=module_id)
def test_a_module_imports_only_its_room_and_rooms_above(path: Path) -> None:
    room = room_of(path)
    if room in ("__init__", "__main__"):
        return
    assert room in ROOMS, f"guerdon/{room} is not in the table of rooms"
    allowed = set(ROOMS[: ROOMS.index(room) + 1])
    for name, line in imported(ast.parse(path.read_text()), path):
        parts = name.split(".")
        if parts[0] == "guerdon" and len(parts) > 1 and parts[1] in ROOMS:
            assert parts[1] in allowed, (
                f"{path.name}:{line}: room {room} imports from {parts[1]}, which stands below it"
            )


@pytest.mark.parametrize(
    "path", [p for p in MODULES if room_of(p) in TORCH_ALONE and room_of(p) != "worlds"], ids=module_id
)
def test_the_tensor_rooms_need_torch_alone(path: Path) -> None:
    for name, line in imported(at_load(ast.parse(path.read_text())), path):
        top = name.split(".")[0]
        assert top in {"guerdon", "torch"} or top in sys.stdlib_module_names, f"{path}:{line} loads {top} at import"


@pytest.mark.parametrize("path", MODULES, ids=module_id)
def test_every_module_says_what_it_is(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text())), f"{path} has no module docstring"


def loaded_by(statement: str) -> set[str]:
    """Top-level modules in sys.modules after `statement` ran in a fresh interpreter."""
    code = f"{statement}\nimport sys\nprint('MODULES', *sorted({{name.split('.')[0] for name in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=PACKAGE.parent, check=True)
    return set(done.stdout.rpartition("MODULES")[2].split())


HEAVY = {"torch", "numpy", "transformers"}


def test_import_guerdon_is_light() -> None:
    assert not loaded_by("import guerdon") & HEAVY


@pytest.mark.skipif(not (PACKAGE / "cli").exists() and not (PACKAGE / "cli.py").exists(), reason="no command line yet")
def test_the_help_text_is_light() -> None:
    statement = (
        "import sys\nsys.argv = ['guerdon', '--help']\nfrom guerdon.cli import main\n"
        "try:\n    main()\nexcept SystemExit as stop:\n    assert not stop.code, stop.code"
    )
    assert not loaded_by(statement) & HEAVY
