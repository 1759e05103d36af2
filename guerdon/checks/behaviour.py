"""Behaviour stated as data: shifts, scales, limits, options, ratios, twins."""

from __future__ import annotations

from torch import Tensor

from guerdon.checks.case import Case, Move, NotApplicable, names
from guerdon.checks.compare import close, demand, flat, gradient, same, with_gradient

# A change below this is float32 arithmetic in another order, not an effect.
ROUNDING = 1e-6


def shift_invariance(case: Case) -> None:
    """Adding a constant (or one a group) moves the result exactly as stated."""
    if not case.moves:
        raise NotApplicable("no shift leaves its result as it is")
    out = case.outputs()
    for move in case.moves:
        shifts = {name: _constants(case, move, name) for name in move.inputs}
        inputs = case.with_inputs(**{name: case.inputs[name] + c for name, c in shifts.items()})
        c = 0.75 * move.result
        expected = [t + c if t.is_floating_point() else t for t in out]
        how = "one constant a group" if move.per == "group" else "a constant"
        sentence = f"adding {how} to {names(move.inputs)} must move the result by {move.result:g} times it"
        same(case, case.outputs(inputs), expected, sentence, 10 * case.tolerance)


def _constants(case: Case, move: Move, name: str) -> Tensor | float:
    if move.per == "all":
        return 0.75
    demand(case.groups is not None, case, "it is said to move by group but names no group ids.")
    ids, x = case.inputs[case.groups], case.inputs[name]  # type: ignore[index]
    shape, axis = [1] * x.ndim, case.rows.get(name, 0)
    shape[axis : axis + ids.ndim] = list(ids.shape)
    return (0.75 + 1.25 * ids).to(x.dtype).reshape(shape)


def scale_behaviour(case: Case) -> None:
    """Multiplying by s > 0 multiplies the result by s to the stated degree."""
    if not case.degrees:
        raise NotApplicable("it is homogeneous in none of its inputs")
    out = case.outputs()
    for degree in case.degrees:
        for s in (0.25, 3.0):
            inputs = case.with_inputs(**{name: s * case.inputs[name] for name in degree.inputs})
            expected = [t * s**degree.degree if t.is_floating_point() else t for t in out]
            sentence = f"{s:g} times {names(degree.inputs)} must give {s:g}^{degree.degree:g} times the result"
            same(case, case.outputs(inputs), expected, sentence, 10 * case.tolerance)


def limit_identities(case: Case) -> None:
    """With an option at its neutral value the function is its parent, value and gradient."""
    if not case.limits:
        raise NotApplicable("none of its options reduces it to another function")
    for limit in case.limits:
        leaves = {n: case.inputs[n].detach().clone().requires_grad_() for n in case.differentiable}
        inputs = {**case.inputs, **leaves}
        got = flat(case.call(**{**inputs, **case.options, **limit.options}))
        expected = flat(limit.parent(**inputs))
        sentence = f"with {dict(limit.options)} it must be {limit.name}"
        same(case, [t.detach() for t in got], [t.detach() for t in expected], sentence, case.tolerance)
        there, here = gradient(got, leaves), gradient(expected, leaves)
        for name in leaves:
            same(case, [there[name]], [here[name]], f"{sentence}, also in the gradient to {name!r}", case.tolerance)


def option_has_effect(case: Case) -> None:
    """Every option changes the result or its gradient on a generic input."""
    if not case.effects:
        raise NotApplicable("it has no options")
    out, grads = with_gradient(case)
    for option, value in case.effects.items():
        there, grads_there = with_gradient(case, None, **{option: value})
        changed = len(there) != len(out) or any(not close(a, b, ROUNDING) for a, b in zip(there, out, strict=True))
        changed = changed or any(not close(grads_there[n], grads[n], ROUNDING) for n in grads)
        demand(changed, case, f"{option}={value!r} changes neither the result nor its gradient.")


def first_step_ratio_one(case: Case) -> None:
    """Where the policy is the old policy, the gradient is the parent's (REINFORCE), as the ratio is exactly 1."""
    if case.ratio is None:
        raise NotApplicable("it forms no ratio to an old policy")
    ratio = case.ratio
    policy = case.inputs[ratio.old].detach().clone().requires_grad_()
    inputs = case.with_inputs(**{ratio.policy: policy})
    got = flat(case.call(**inputs, **case.options))
    expected = flat(ratio.parent(**inputs))
    here, there = gradient(got, {ratio.policy: policy}), gradient(expected, {ratio.policy: policy})
    sentence = "where the policy is the old one, the gradient must be that of the parent"
    same(case, list(here.values()), list(there.values()), sentence, case.tolerance)
    if ratio.value:
        same(case, got, expected, "where the policy is the old one, the value must be the parent's", case.tolerance)


def fused_parity(case: Case) -> None:
    """The fast way gives what its readable twin gives, gradients included."""
    if case.twin is None:
        raise NotApplicable("it is itself the readable way")
    leaves = {n: case.inputs[n].detach().clone().requires_grad_() for n in case.differentiable}
    inputs = {**case.inputs, **leaves}
    got, expected = flat(case.call(**inputs, **case.options)), flat(case.twin(**inputs, **case.options))
    sentence = "the fast way must give what its readable twin gives"
    same(case, [t.detach() for t in got], [t.detach() for t in expected], sentence, case.tolerance)
    here, there = gradient(got, leaves), gradient(expected, leaves)
    for name in leaves:
        same(case, [here[name]], [there[name]], f"{sentence}, also in the gradient to {name!r}", case.tolerance)
