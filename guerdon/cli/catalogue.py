"""Listing methods and reproducing their claims: thin printing over ``guerdon.catalogue``."""

import json as encoder
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from guerdon.catalogue import describe, entries, find, reproduce, search
from guerdon.cli import show

COLUMNS = ("slug", "card", "title", "family", "verdict")


def list_methods(name: str | None, wanted: str | None, json: bool) -> None:
    """One entry whole, or a line for each that mentions ``wanted``."""
    if name is not None:
        found = describe(find(name))
        if json:
            _print(found)
        else:
            show.table(str(found["title"]), ("", ""), [(k, _text(v)) for k, v in found.items()])
        return
    kept = [describe(method) for method in (entries() if wanted is None else search(wanted))]
    if json:
        _print(kept)
    else:
        show.table(f"{len(kept)} methods", COLUMNS, [[str(found[c]) for c in COLUMNS] for found in kept])


def run_reproductions(names: Sequence[str], smoke: bool, json: bool) -> None:
    """Reproduce each name; raises GuerdonError for one that does not exist before anything runs."""
    methods = {name: find(name) for name in names}
    results = {}
    for name, method in methods.items():
        results[name] = reproduce(method, smoke=smoke)
        if not json:
            print(f"{name}: {results[name].status}. {results[name].sentence}")
    if json:
        _print({name: asdict(verdict) for name, verdict in results.items()})


def _print(value: Any) -> None:
    print(encoder.dumps(value, indent=1, ensure_ascii=False, default=str))


def _text(value: Any) -> str:
    """A value in one cell; a mapping as 'name: value' lines."""
    if isinstance(value, Mapping):
        return "\n".join(f"{k}: {_text(v)}" for k, v in value.items())
    return f"{value:.4g}" if isinstance(value, float) else str(value)
