"""Every public function of the tensor rooms is held to every property, or stands in exemptions.py with a reason.

`python -m tests.properties.count` prints the table.
"""

from __future__ import annotations

import inspect

import pytest
import torch

from guerdon.checks import PROPERTIES, CheckFailed, run_all
from guerdon.checks.compare import close
from guerdon.errors import GuerdonError
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


def reacts(case, inputs):
    """Whether a generic change of these inputs changes the result at all."""
    changed = {name: case.inputs[name] * (1 + 0.1 * torch.rand_like(case.inputs[name])) for name in inputs}
    return not unchanged(case, changed, 1.0)


def unchanged(case, changed, factor, offset=0.0):
    """Whether the result is factor * result + offset; a refused input says no."""
    before = [t for t in case.outputs() if t.is_floating_point()]
    try:
        after = [t for t in case.outputs(case.with_inputs(**changed)) if t.is_floating_point()]
    except GuerdonError:
        return False
    return all(close(a, b * factor + offset, 2e-5) for a, b in zip(after, before, strict=True))


@pytest.mark.parametrize(
    "case", [c for c in CASES if c.real and not (c.moves and c.degrees)], ids=lambda case: case.name
)
def test_not_applicable_is_true_of_shifts_and_scales(case):
    """'No shift leaves it as it is' and 'homogeneous in nothing' are claims too: they are tried."""
    together = [tuple(case.real)] if len(case.real) > 1 else []
    for inputs in [*((name,) for name in case.real), *together]:
        if not reacts(case, inputs):
            continue
        if not case.moves:
            moved = {name: case.inputs[name] + 0.75 for name in inputs}
            assert not unchanged(case, moved, 1.0), f"{case.name} is blind to a shift of {inputs}: state the move"
        if not case.degrees:
            for degree in (0.0, 1.0, 2.0):
                ways = [(s, {name: s * case.inputs[name] for name in inputs}) for s in (0.25, 3.0)]
                homogeneous = all(unchanged(case, scaled, s**degree) for s, scaled in ways)
                assert not homogeneous, f"{case.name} has degree {degree:g} in {inputs}: state it"
