"""Listing methods and reproducing their claims: thin printing over ``guerdon.catalogue``."""

import json as encoder
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from guerdon.catalogue import describe, describe_preset, entries, find, reproduce, search
from guerdon.cli import show
from guerdon.errors import GuerdonError
from guerdon.lab.protocol import SMOKE_SEEDS
from guerdon.lab.stats import Verdict
from guerdon.training.methods import presets

COLUMNS = ("slug", "card", "title", "family", "verdict")
PRESET_COLUMNS = ("slug", "paper", "reads", "protects")


def list_methods(name: str | None, wanted: str | None, json: bool, family: str | None = None) -> None:
    """One entry or preset whole, or a line for each that mentions ``wanted``; of one ``family`` alone if given."""
    others = {p.name: p for p in presets() if p.card is None}
    if name is not None:
        found = describe_preset(others[name]) if name in others else describe(find(name))
        if json:
            _print(found)
        else:
            show.table(str(found["title"]), ("", ""), [(k, _text(v)) for k, v in found.items()])
        return
    text = (wanted or "").casefold()
    kept = [describe(method) for method in (entries() if wanted is None else search(wanted))]
    more = [describe_preset(p) for p in others.values() if text in f"{p.name} {p.paper} {p.protects}".casefold()]
    if family is not None:
        families = sorted({str(found["family"]) for found in (*kept, *more)})
        kept, more = ([x for x in found if x["family"] == family] for found in (kept, more))
        if not kept and not more and family not in families:
            raise GuerdonError(f"There is no family {family!r}; there are {', '.join(families)}.")
    if json:
        _print([*kept, *more])
        return
    show.table(f"{len(kept)} methods", COLUMNS, [[str(found[c]) for c in COLUMNS] for found in kept])
    if more:
        rows = [[str(found[c]) for c in PRESET_COLUMNS] for found in more]
        show.table(f"{len(rows)} presets without an entry (`guerdon align --method`)", PRESET_COLUMNS, rows)


def run_reproductions(names: Sequence[str], smoke: bool, json: bool) -> None:
    """Reproduce each name; raises GuerdonError for one that does not exist before anything runs."""
    methods = {name: find(name) for name in names}
    results: dict[str, Verdict] = {}
    for method in methods.values():
        found = reproduce(method, smoke=smoke)
        results.update(found)
        for slug, verdict in () if json else found.items():
            print(f"{slug}: {verdict.status}. {verdict.sentence}")
    if json:
        _print({slug: asdict(verdict) for slug, verdict in results.items()})


def experiment_needs(names: Sequence[str], smoke: bool) -> tuple[list[tuple[str, str]], str]:
    """(what the experiments would run, where their results go). Raises GuerdonError for a name that does not exist."""
    needs = []
    for experiment in (e for name in names for e in find(name).experiments):
        points = len(experiment.configurations(experiment.method))
        searched = points * len(experiment.tuning_seeds) if points > 1 and not smoke else 0
        seeds = SMOKE_SEEDS if smoke else len(experiment.reporting_seeds)
        arms = " and ".join(experiment.arms)
        needs.append((experiment.slug, f"{seeds} seeds and {searched} runs of the search, for {arms}"))
    return needs, "results/NAME.smoke.json" if smoke else "the result that is stored with the package"


def _print(value: Any) -> None:
    print(encoder.dumps(value, indent=1, ensure_ascii=False, default=str))


def _text(value: Any) -> str:
    """A value in one cell; a mapping as 'name: value' lines."""
    if isinstance(value, Mapping):
        return "\n".join(f"{k}: {_text(v)}" for k, v in value.items())
    return f"{value:.4g}" if isinstance(value, float) else str(value)
