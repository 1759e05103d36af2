"""Small changes of a source file, one at a time, of the kinds that losses get wrong."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass

SWAPPED: dict[type[ast.AST], type[ast.AST]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.Gt: ast.Lt,
    ast.Lt: ast.Gt,
    ast.GtE: ast.Lt,
    ast.LtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
}
DROPPED = ("detach", "clamp", "clamp_min", "clamp_max", "square", "abs", "exp", "log")
"""Methods that may be forgotten."""
UNWRAPPED = ("relu", "masked", "logsigmoid")
"""Functions that may be forgotten: their first argument stands alone."""
REDUCTIONS = {
    *("all", "amax", "amin", "any", "argsort", "cat", "cumsum", "flip", "gather", "logsumexp", "log_softmax", "max"),
    *("mean", "min", "softmax", "sort", "squeeze", "stack", "sum", "unsqueeze", "unbind"),
}
"""Functions of a dimension. Their −1 does not become 1, which is the same dimension of most tensors here; it becomes −2
with the constants."""
EXCHANGED = {"total": "average", "average": "total"}
"""Reductions that are taken for each other."""


@dataclass(frozen=True)
class Mutant:
    """where: the function it stands in ('module' outside of any). line, text: its line. what: 'before -> after'.
    source: the whole changed file."""

    where: str
    line: int
    text: str
    what: str
    source: str


def mutants(source: str) -> Iterator[Mutant]:
    """Every change of a file, in order. Docstrings, annotations, what is raised and what is imported are left alone."""
    tree, lines = ast.parse(source), source.splitlines()
    for number, (node, where) in enumerate(_changeable(tree)):
        for change in _changes(node):
            copy = ast.parse(source)
            twin, _ = list(_changeable(copy))[number]
            before, text = ast.unparse(twin), lines[node.lineno - 1].strip()
            after = change(twin)
            _replace(copy, twin, after)
            yield Mutant(where, node.lineno, text, f"{before} -> {ast.unparse(after)}", ast.unparse(copy))


def _changeable(tree: ast.Module) -> list[tuple[ast.expr, str]]:
    found: list[tuple[ast.expr, str]] = []
    dimensions: set[ast.AST] = set()

    def walk(node: ast.AST, where: str) -> None:
        if isinstance(node, ast.Raise | ast.Import | ast.ImportFrom | ast.Assert | ast.JoinedStr):
            return
        if isinstance(node, ast.FunctionDef):
            where = node.name if where == "module" else f"{where}.{node.name}"
        if isinstance(node, ast.BinOp | ast.UnaryOp | ast.Compare | ast.Call | ast.Constant) and node not in dimensions:
            found.append((node, where))
        if isinstance(node, ast.Call) and _name(node) in REDUCTIONS:
            dimensions.update(a for a in (*node.args, *(k.value for k in node.keywords)) if isinstance(a, ast.UnaryOp))
        for name, value in ast.iter_fields(node):
            if name in ("annotation", "returns", "slice"):
                continue
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.AST):
                    walk(child, where)

    walk(tree, "module")
    return found


def _changes(node: ast.expr) -> list[Callable[[ast.expr], ast.expr]]:
    if isinstance(node, ast.BinOp) and type(node.op) in SWAPPED:
        return [_swapped]
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return [lambda twin: twin.operand]  # type: ignore[attr-defined]
    if isinstance(node, ast.Compare) and type(node.ops[0]) in SWAPPED:
        return [_compared]
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float) and not isinstance(node.value, bool):
        return [_shifted] if node.value + 1 != node.value else []
    if isinstance(node, ast.Call):
        return _of_calls(node)
    return []


def _of_calls(node: ast.Call) -> list[Callable[[ast.expr], ast.expr]]:
    name = _name(node)
    if isinstance(node.func, ast.Attribute) and name in DROPPED:
        return [lambda twin: twin.func.value]  # type: ignore[attr-defined]
    if name in UNWRAPPED and node.args:
        return [lambda twin: twin.args[0]]  # type: ignore[attr-defined]
    if name == "where" and len(node.args) == 3:
        return [_exchanged_sides]
    if isinstance(node.func, ast.Attribute) and name in EXCHANGED:
        return [_exchanged_name]
    return []


def _name(node: ast.Call) -> str:
    return node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")


def _swapped(twin: ast.expr) -> ast.expr:
    assert isinstance(twin, ast.BinOp)
    return ast.BinOp(twin.left, SWAPPED[type(twin.op)](), twin.right)  # type: ignore[arg-type]


def _compared(twin: ast.expr) -> ast.expr:
    assert isinstance(twin, ast.Compare)
    return ast.Compare(twin.left, [SWAPPED[type(twin.ops[0])](), *twin.ops[1:]], twin.comparators)  # type: ignore[list-item]


def _shifted(twin: ast.expr) -> ast.expr:
    assert isinstance(twin, ast.Constant)
    return ast.Constant(twin.value + 1)  # type: ignore[operator]


def _exchanged_sides(twin: ast.expr) -> ast.expr:
    assert isinstance(twin, ast.Call)
    condition, yes, no = twin.args
    return ast.Call(twin.func, [condition, no, yes], twin.keywords)


def _exchanged_name(twin: ast.expr) -> ast.expr:
    assert isinstance(twin, ast.Call) and isinstance(twin.func, ast.Attribute)
    return ast.Call(ast.Attribute(twin.func.value, EXCHANGED[twin.func.attr], ast.Load()), twin.args, twin.keywords)


def _replace(tree: ast.Module, old: ast.expr, new: ast.expr) -> None:
    new = deepcopy(new)
    for node in ast.walk(tree):
        for name, value in ast.iter_fields(node):
            if value is old:
                setattr(node, name, new)
            elif isinstance(value, list) and any(x is old for x in value):
                value[:] = [new if x is old else x for x in value]
    ast.fix_missing_locations(tree)
