"""A property that cannot fail shows nothing: each is given a function with the very bug it is for."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from guerdon import reduce
from guerdon.checks import PROPERTIES, Case, CheckFailed, Degree, Limit, Move, NotApplicable, Ratio, check, run_all
from tests.properties.examples import EVERY, MASK, OK, ROWS, STEPS, real, unit

X = real(ROWS, STEPS)


def rows(call, **roles) -> Case:
    """A function of x and mask [N,T] -> [N]."""
    given = {
        "real": ("x",),
        "differentiable": ("x",),
        "masks": {"mask": ("x",)},
        "rows": {"x": 0, "mask": 0},
        "steps": {"x": 1, "mask": 1},
        "split": "rows",
        **roles,
    }
    return Case("bug", call, {"x": X, "mask": MASK}, **given)


def groups(call, **roles) -> Case:
    """A function of x, ids, ok [N] -> [N]."""
    given = {
        "real": ("x",),
        "masks": {"ok": ("x",)},
        "valid": ("ok",),
        "rows": {"x": 0, "ids": 0, "ok": 0},
        "groups": "ids",
        "split": "groups",
        **roles,
    }
    return Case("bug", call, {"x": real(ROWS), "ids": EVERY, "ok": OK}, **given)


def centred(x, ids, ok):
    return torch.where(ok, x - reduce.group_mean(x, ids, ok), 0.0)


RATIO = Case(
    "bug",
    lambda policy, old, gain: (policy - old + 0.1).exp() * gain,
    {"policy": real(5), "old": real(5, seed=1), "gain": real(5, seed=2)},
    real=("policy", "old"),
    ratio=Ratio("policy", "old", lambda policy, old, gain: gain * policy),
)

BUGS = {
    # A product with the mask leaves NaN where it stands.
    "mask_invariance": rows(lambda x, mask: (x * mask).sum(-1)),
    # A mean over the width counts padding.
    "pad_invariance": rows(lambda x, mask: reduce.masked(x, mask).mean(-1)),
    # Denominators of the micro-batch, averaged.
    "split_invariance": rows(
        lambda x, mask: reduce.mean_all(x, mask),
        result="whole",
        parts=lambda x, mask: (reduce.mean_all(x[:3], mask[:3]) + reduce.mean_all(x[3:], mask[3:])) / 2,
    ),
    "shift_invariance": groups(centred, moves=(Move(("x",), 1.0, "group"),)),
    "scale_behaviour": groups(centred, degrees=(Degree(("x",), 0.0),)),
    # Row 0 is treated as the baseline of everyone.
    "permutation_equivariance": rows(lambda x, mask: reduce.total(x, mask) - reduce.total(x, mask)[0]),
    # Ragged groups normalised over the whole batch.
    "group_isolation": groups(lambda x, ids, ok: x - reduce.mean_all(x, ok)),
    "first_step_ratio_one": RATIO,
    "finite_difference_gradient": rows(lambda x, mask: reduce.total(x * x.detach(), mask)),
    # exp before it is needed.
    "extreme_inputs_finite": rows(lambda x, mask: reduce.total(x.exp().log1p(), mask)),
    "dtype_parity": rows(lambda x, mask: torch.where(mask, x, 0).sum(-1)),
    "fused_parity": rows(reduce.average, twin=lambda x, mask: reduce.total(x, mask) / STEPS),
    "limit_identities": rows(
        lambda x, mask, power=1.0: reduce.average(x, mask) * power, limits=(Limit({"power": 2.0}, reduce.average),)
    ),
    # An option that is accepted and ignored.
    "option_has_effect": rows(lambda x, mask, unbiased=True: reduce.average(x, mask), effects={"unbiased": False}),
    # An invalid reward read as 0.
    "invalid_not_zero": groups(lambda x, ids, ok: reduce.group_mean(torch.where(ok, x, 0.0), ids)),
}


def test_there_is_a_bug_for_every_property():
    assert set(BUGS) == set(PROPERTIES)


@pytest.mark.parametrize("name", BUGS)
def test_a_property_finds_its_bug(name):
    with pytest.raises(CheckFailed, match=r"^bug: "):
        check(name, BUGS[name])


def test_gradient_under_a_mask_is_found():
    case = rows(lambda x, mask: reduce.total(torch.where(mask, x, x.sum() * 0 + x), torch.ones_like(mask)))
    with pytest.raises(CheckFailed):
        check("mask_invariance", case)
    nan_gradient = rows(lambda x, mask: torch.where(mask, (x * x + 1e-3).sqrt(), 0.0).sum(-1))
    with pytest.raises(CheckFailed, match="gradient"):
        check("mask_invariance", nan_gradient)


def test_an_example_that_shows_nothing_is_refused():
    case = replace(rows(reduce.average), inputs={"x": X, "mask": torch.ones_like(MASK)})
    with pytest.raises(CheckFailed, match="hides nothing"):
        check("mask_invariance", case)


def test_all_failures_are_named_at_once():
    with pytest.raises(CheckFailed) as failure:
        run_all(rows(lambda x, mask: (x * mask).mean(-1)))
    assert {"mask_invariance", "pad_invariance"} <= {line.split(":")[0] for line in str(failure.value).splitlines()}


def test_what_does_not_apply_says_why():
    case = Case("sqrt", lambda x: reduce.safe_sqrt(x), {"x": unit(4)}, real=("x",))
    assert check("mask_invariance", case) == "not applicable: it takes no mask"
    with pytest.raises(NotApplicable, match="no groups"):
        PROPERTIES["group_isolation"](case)


def test_a_sound_function_passes_and_a_reason_skips():
    found = run_all(
        groups(centred, moves=(Move(("x",), 0.0, "group"),), degrees=(Degree(("x",), 1.0),)),
        skip={"dtype_parity": "shown elsewhere"},
    )
    assert found["group_isolation"] == found["invalid_not_zero"] == found["shift_invariance"] == "passed"
    assert found["dtype_parity"] == "exempt: shown elsewhere"
    assert found["fused_parity"].startswith("not applicable")
