"""All cases, all public functions, and what each function is held to."""

from __future__ import annotations

import importlib
import inspect
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from guerdon.checks import PROPERTIES, Case, run_all
from tests.properties import (
    cases_advantages,
    cases_direct_analyses,
    cases_direct_data,
    cases_direct_displacement,
    cases_direct_free,
    cases_direct_general,
    cases_direct_links,
    cases_direct_lists,
    cases_direct_selfplay,
    cases_direct_tokens,
    cases_numerics,
    cases_objectives,
    cases_preferences,
    cases_reduce,
    cases_shaping,
    exemptions,
)

ROOMS = ("reduce", "divergences", "logprobs", "preferences", "shaping", "advantages", "objectives")


def numbered(cases: list[Case]) -> Iterator[Case]:
    """Cases of one name are told apart by a number."""
    seen: Counter[str] = Counter()
    for case in cases:
        seen[case.name] += 1
        yield case if seen[case.name] == 1 else replace(case, name=f"{case.name}#{seen[case.name]}")


CASES: tuple[Case, ...] = tuple(
    numbered(
        [
            *cases_reduce.CASES,
            *cases_numerics.CASES,
            *cases_preferences.CASES,
            *cases_shaping.CASES,
            *cases_advantages.CASES,
            *cases_objectives.CASES,
            *cases_direct_displacement.CASES,
            *cases_direct_selfplay.CASES,
            *cases_direct_data.CASES,
            *cases_direct_tokens.CASES,
            *cases_direct_analyses.CASES,
            *cases_direct_free.CASES,
            *cases_direct_links.CASES,
            *cases_direct_lists.CASES,
            *cases_direct_general.CASES,
        ]
    )
)


def public_functions() -> dict[str, Callable[..., Any]]:
    """room.name -> function, for every function a room exports; types and constants are not called."""
    found: dict[str, Callable[..., Any]] = {}
    for room in ROOMS:
        module = importlib.import_module(f"guerdon.{room}")
        names = getattr(module, "__all__", None) or [
            n for n, x in vars(module).items() if inspect.isfunction(x) and x.__module__ == module.__name__
        ]
        for name in names:
            thing = getattr(module, name)
            if inspect.isfunction(thing) and not name.startswith("_"):
                found[f"{room}.{name}"] = thing
    return found


def cases_of(function: Callable[..., Any]) -> list[Case]:
    """The cases of one function."""
    return [c for c in CASES if (c.function or c.call) is function]


def skipped(case: Case) -> dict[str, str]:
    """property -> reason, for one case."""
    names = {case.name, case.name.split("[")[0].split("#")[0]}
    return {prop: why for (name, prop), why in exemptions.PROPERTIES.items() if name in names}


def outcomes() -> dict[str, dict[str, str]]:
    """case -> property -> outcome; raises CheckFailed where something does not hold."""
    return {case.name: run_all(case, skipped(case)) for case in CASES}


def counts() -> tuple[Counter[str], dict[str, Counter[str]]]:
    """How often each outcome came, in all and by property."""
    total: Counter[str] = Counter()
    by_property: dict[str, Counter[str]] = {name: Counter() for name in PROPERTIES}
    for found in outcomes().values():
        for name, outcome in found.items():
            kind = outcome.split(":")[0]
            total[kind] += 1
            by_property[name][kind] += 1
    return total, by_property
