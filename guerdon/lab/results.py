"""Stored results: raw numbers of every run, what produced them, and whether those sources still stand.

The hash covers the module of ``run_one`` and the modules or packages an experiment declares, read as syntax trees
without docstrings and comments: rewording or reformatting does not make a result stale, changing what runs does. It
does not follow imports; an experiment declares what its claim rests on.
"""

import ast
import hashlib
import importlib.metadata
import importlib.util
import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from guerdon.errors import DataError, GuerdonError
from guerdon.files import write_text

Metrics = Mapping[str, float]
LIBRARIES = ("torch", "numpy", "transformers", "scipy")


@dataclass(frozen=True)
class Run:
    """One finished run: stage 'tuning' or 'reporting', which arm, its settings, its seed, what it measured."""

    stage: str
    arm: str
    config: Mapping[str, Any]
    seed: int
    metrics: Metrics
    seconds: float

    @property
    def key(self) -> tuple[str, str, str, int]:
        """What makes the run this run."""
        return (self.stage, self.arm, json.dumps(self.config, sort_keys=True), self.seed)


@dataclass(frozen=True)
class Result:
    """An experiment's description and every run of it, both arms, the whole search.

    confirmed: what was replayed where the sources changed after the runs without changing their numbers, '' where they
    did not change.
    """

    slug: str
    experiment: Mapping[str, Any]
    sources_hash: str
    versions: Mapping[str, str]
    threads: int
    smoke: bool
    runs: tuple[Run, ...]
    confirmed: str = ""

    def of(self, stage: str, arm: str) -> list[Run]:
        """Runs of one stage and arm in order of seed."""
        return sorted((r for r in self.runs if (r.stage, r.arm) == (stage, arm)), key=lambda r: r.seed)


def versions() -> dict[str, str]:
    """Versions of Python, guerdon and the numerical libraries."""
    found = {"python": platform.python_version()}
    for name in ("guerdon", *LIBRARIES):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _canonical(node: Any) -> Any:
    """A syntax tree as nested lists that are equal on every Python version: no positions, docstrings or empty
    fields."""
    if isinstance(node, ast.AST):
        fields = []
        for name, value in ast.iter_fields(node):
            if name in ("kind", "type_comment", "type_params", "ctx"):
                continue
            if name == "body" and isinstance(value, list) and value and _is_docstring(value[0]):
                value = value[1:]
            if value is not None and value != []:
                fields.append([name, _canonical(value)])
        return [type(node).__name__, *fields]
    return [_canonical(x) for x in node] if isinstance(node, list) else repr(node)


def _is_docstring(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def source_files(module: str) -> list[Path]:
    """The files of a module, or every ``.py`` of a package. Raises GuerdonError where there is no such module."""
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        raise GuerdonError(f"An experiment declares the source {module!r}, but there is no such module.")
    path = Path(spec.origin)
    return sorted(path.parent.rglob("*.py")) if path.name == "__init__.py" else [path]


def sources_hash(modules: Sequence[str]) -> str:
    """Hash of what the files of these modules do."""
    digest = hashlib.sha256()
    for module in sorted(set(modules)):
        root = source_files(module)[0].parent
        for path in source_files(module):
            tree = _canonical(ast.parse(path.read_text(encoding="utf-8")))
            digest.update(f"{module}:{path.relative_to(root)}\n{json.dumps(tree)}\n".encode())
    return digest.hexdigest()[:16]


def _text(result: Result) -> str:
    """JSON with one run a line, so that a changed number is a changed line."""
    head = {k: v for k, v in asdict(result).items() if k != "runs"}
    body = json.dumps(head, indent=1, sort_keys=True, allow_nan=True)
    runs = ",\n".join(f"  {json.dumps(asdict(r), sort_keys=True)}" for r in sorted(result.runs, key=lambda r: r.key))
    return f'{body[:-2]},\n "runs": [\n{runs}\n ]\n}}\n'


def save(result: Result, path: Path) -> None:
    """Write a result atomically."""
    write_text(path, _text(result))


def load(path: Path) -> Result:
    """Read a stored result. Raises DataError naming the file where it is absent, broken or lacks a field."""
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        return Result(
            raw["slug"],
            raw["experiment"],
            raw["sources_hash"],
            raw["versions"],
            raw["threads"],
            raw["smoke"],
            tuple(Run(**r) for r in raw["runs"]),
            raw.get("confirmed", ""),
        )
    except FileNotFoundError as error:
        raise DataError(f"There is no stored result at {path}; run the experiment first.") from error
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise DataError(f"{path} is not a stored result ({error}); delete it and run the experiment again.") from error
