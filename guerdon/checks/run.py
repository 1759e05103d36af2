"""All properties, and one call that holds a case to each of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType

from guerdon.checks.behaviour import (
    first_step_ratio_one,
    fused_parity,
    limit_identities,
    option_has_effect,
    scale_behaviour,
    shift_invariance,
)
from guerdon.checks.case import Case, CheckFailed, NotApplicable, Property
from guerdon.checks.masks import invalid_not_zero, mask_invariance, pad_invariance
from guerdon.checks.numerics import dtype_parity, extreme_inputs_finite, finite_difference_gradient
from guerdon.checks.rows import group_isolation, permutation_equivariance, split_invariance

PROPERTIES: Mapping[str, Property] = MappingProxyType(
    {
        p.__name__: p
        for p in (
            mask_invariance,
            pad_invariance,
            split_invariance,
            shift_invariance,
            scale_behaviour,
            permutation_equivariance,
            group_isolation,
            first_step_ratio_one,
            finite_difference_gradient,
            extreme_inputs_finite,
            dtype_parity,
            fused_parity,
            limit_identities,
            option_has_effect,
            invalid_not_zero,
        )
    }
)

PASSED = "passed"


def check(name: str, case: Case) -> str:
    """Hold a case to one property: 'passed' or 'not applicable: why'. Raises CheckFailed where it does not hold."""
    return outcome(lambda: PROPERTIES[name](case))


def outcome(rule: Callable[[], None]) -> str:
    """'passed' or 'not applicable: why' of one rule. Raises CheckFailed where it does not hold."""
    try:
        rule()
    except NotApplicable as why:
        return f"not applicable: {why}"
    return PASSED


def run_all(case: Case, skip: Mapping[str, str] = MappingProxyType({})) -> dict[str, str]:
    """Every property of a case: property -> 'passed', 'not applicable: why' or 'exempt: why' (from ``skip``).

    Raises CheckFailed once, naming every property that does not hold.
    """
    return hold({name: partial(rule, case) for name, rule in PROPERTIES.items()}, skip)


def hold(
    rules: Mapping[str, Callable[[], None]], skip: Mapping[str, str] = MappingProxyType({}), subject: str = ""
) -> dict[str, str]:
    """Every rule, in order: rule -> 'passed', 'not applicable: why' or 'exempt: why' (from ``skip``).

    Raises CheckFailed once, naming ``subject`` and every rule that does not hold.
    """
    found: dict[str, str] = {}
    broken: list[str] = []
    for name, rule in rules.items():
        if name in skip:
            found[name] = f"exempt: {skip[name]}"
            continue
        try:
            found[name] = outcome(rule)
        except CheckFailed as failure:
            broken.append(f"{name}: {subject}: {failure}" if subject else f"{name}: {failure}")
    if broken:
        raise CheckFailed("\n".join(broken))
    return found
