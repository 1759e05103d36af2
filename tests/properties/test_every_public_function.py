"""Every public function of the tensor rooms is held to every property, or stands in exemptions.py with a reason.

`python -m tests.properties.count` prints the table.
"""

from __future__ import annotations

import inspect

import pytest

from guerdon.checks import PROPERTIES, CheckFailed, run_all
from tests.properties import exemptions
from tests.properties.every import CASES, cases_of, public_functions, skipped

FUNCTIONS = public_functions()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_properties_hold(case):
    found = run_all(case, skipped(case))
    assert set(found) == set(PROPERTIES)
    assert "passed" in found.values()


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_public_function_has_a_case_or_a_reason(name):
    cases = cases_of(FUNCTIONS[name])
    if name in exemptions.FUNCTIONS:
        assert not cases, f"{name} has cases now: remove its exemption"
        return
    assert cases, f"guerdon.{name} is held to nothing: add a case, or a reason to tests/properties/exemptions.py"


@pytest.mark.parametrize("name", [n for n in FUNCTIONS if n not in exemptions.FUNCTIONS])
def test_every_parameter_is_an_input_or_an_option_with_an_effect(name):
    """trl#2665, OpenRLHF#693: options that were accepted and ignored."""
    cases = cases_of(FUNCTIONS[name])
    shown = {key for case in cases for key in (*case.inputs, *case.effects)}
    for parameter in inspect.signature(FUNCTIONS[name]).parameters.values():
        if parameter.kind is parameter.VAR_KEYWORD:
            continue
        spellings = {parameter.name, *exemptions.ALIASES.get(parameter.name, ())}
        known = spellings & shown or (name, parameter.name) in exemptions.OPTIONS
        assert known, f"no case of guerdon.{name} shows what {parameter.name!r} changes"


def test_no_exemption_is_stale():
    names = {case.name for case in CASES} | {case.name.split("[")[0] for case in CASES}
    for (name, prop), reason in exemptions.PROPERTIES.items():
        assert name in names and prop in PROPERTIES and reason, f"{name}, {prop}: no such case or property"
        matching = [case for case in CASES if prop in skipped(case) and name in (case.name, case.name.split("[")[0])]
        broken = 0
        for case in matching:
            try:
                PROPERTIES[prop](case)
            except CheckFailed:
                broken += 1
        assert broken, f"{name} keeps {prop}: remove its exemption"
    assert set(exemptions.FUNCTIONS) <= set(FUNCTIONS)
