"""Listing methods and reproducing their claims: thin printing over ``guerdon.catalogue``."""

import dataclasses
import importlib
import json as encoder
from collections.abc import Sequence
from typing import Any

from guerdon.cli import show
from guerdon.errors import GuerdonError


def _catalogue() -> Any:
    try:
        return importlib.import_module("guerdon.catalogue")
    except ModuleNotFoundError as error:
        raise GuerdonError("This build of guerdon has no catalogue of methods.") from error


def _plain(entry: Any) -> dict[str, Any]:
    """What can be shown of an entry: its fields that are data."""
    if hasattr(entry, "to_dict"):
        return dict(entry.to_dict())
    names = [f.name for f in dataclasses.fields(entry)] if dataclasses.is_dataclass(entry) else list(vars(entry))
    found = {name: getattr(entry, name) for name in names}
    return {name: value for name, value in found.items() if not callable(value)}


def list_methods(name: str | None, search: str | None, json: bool) -> None:
    """One entry whole, or a line for each that mentions ``search``."""
    catalogue = _catalogue()
    if name is not None:
        found = _plain(catalogue.find(name))
        if json:
            print(encoder.dumps(found, indent=1, ensure_ascii=False, default=str))
        else:
            show.table(str(found.get("title", name)), ("", ""), [(k, str(v)) for k, v in found.items()])
        return
    every = [_plain(entry) for entry in catalogue.entries()]
    kept = [e for e in every if search is None or search.lower() in " ".join(map(str, e.values())).lower()]
    if json:
        print(encoder.dumps(kept, indent=1, ensure_ascii=False, default=str))
    else:
        columns = ("slug", "card", "title", "family")
        show.table(f"{len(kept)} methods", columns, [[str(e.get(c, "")) for c in columns] for e in kept])


def run_reproductions(names: Sequence[str], smoke: bool, json: bool) -> None:
    """Reproduce each name; raises GuerdonError for one that does not exist before anything runs."""
    catalogue = _catalogue()
    for name in names:
        catalogue.find(name)
    results = {name: catalogue.reproduce(name, smoke=smoke) for name in names}
    if json:
        print(encoder.dumps(results, indent=1, ensure_ascii=False, default=str))
    else:
        for name, result in results.items():
            print(f"{name}: {getattr(result, 'sentence', None) or getattr(result, 'status', result)}")
