"""Cases of guerdon.advantages."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from guerdon import advantages
from guerdon.advantages import Convention
from guerdon.batch import Partition
from guerdon.checks import Case, Degree, Limit, Move
from guerdon.checks.estimator import estimator_case
from tests.properties.examples import IDS, MASK, OK, ROWS, SPANS, STEPS, real

REWARD, CHANNELS = real(ROWS, seed=1), real(3, ROWS, seed=2)
STEP_REWARD, VALUE = real(ROWS, STEPS, seed=3), real(ROWS, STEPS, seed=4)
PLAIN = Convention("mean", "group", 1, 0.0)
STAYS = (Move(("reward",), 0.0, "group"),)


def group(name: str, estimator: Callable[..., Any], function: Callable[..., Any], **roles: Any) -> Case:
    """An estimator of rewards [N] compared inside groups; options reach it through the call."""
    keys = ("shift", "degree", "isolated")
    known = {k: roles.pop(k) for k in keys if k in roles}
    base = estimator_case(lambda r, p, ok: estimator(r, p, ok), REWARD, Partition(IDS), OK, name=name, **known)

    def call(reward: Tensor, ids: Tensor, ok: Tensor, **options: Any) -> Any:
        return estimator(reward, Partition(ids), ok, **options)

    return replace(base, call=call, function=function, **roles)


def rlo(reward: Tensor, ids: Tensor, ok: Tensor) -> Any:
    return advantages.rloo(reward, Partition(ids), ok)


GROUPS = [
    group(
        "advantages.group_relative",
        advantages.group_relative,
        advantages.group_relative,
        effects={"convention": "dr_grpo"},
        limits=(
            Limit({"convention": Convention("peers", None)}, rlo, "rloo"),
            Limit(
                {"convention": "dr_grpo"},
                lambda reward, ids, ok: advantages.group_relative(reward, Partition(ids), ok, "prime_rl"),
                "prime_rl",
            ),
        ),
    ),
    group(
        "advantages.group_relative[no eps]",
        lambda r, p, ok: advantages.group_relative(r, p, ok, PLAIN),
        advantages.group_relative,
        degree=0.0,
    ),
    group(
        "advantages.group_relative[batch]",
        lambda r, p, ok: advantages.group_relative(r, p, ok, Convention("mean", "batch", 1, 0.0)),
        advantages.group_relative,
        degree=0.0,
        isolated=False,
    ),
    group(
        "advantages.group_relative[peers]",
        lambda r, p, ok: advantages.group_relative(r, p, ok, Convention("peers", "peers", 1, 0.0)),
        advantages.group_relative,
        # Someone with one peer has no deviation to be divided by, so its advantage scales and the others' do not.
    ),
    group("advantages.rloo", advantages.rloo, advantages.rloo, degree=1.0),
    group(
        "advantages.reinforce",
        lambda r, p, ok, **options: advantages.reinforce(r, ok, **options),
        advantages.reinforce,
        degree=1.0,
        isolated=False,
        groups=None,
        effects={"baseline": 0.5},
        split=None,
    ),
]


def channels(function: Callable[..., Any], **roles: Any) -> Case:
    """K channels of rewards [K,N] with validity [K,N]."""
    valid = torch.ones(3, ROWS, dtype=torch.bool)
    valid[0, 3] = valid[1, 0] = valid[2, 7] = False

    def call(reward: Tensor, ids: Tensor, ok: Tensor, **options: Any) -> Any:
        return function(reward, Partition(ids), ok=ok, **options)

    given: dict[str, Any] = {
        "real": ("reward",),
        "masks": {"ok": ("reward",)},
        "rows": {"reward": 1, "ids": 0, "ok": 1},
        "axis": 1,
        "function": function,
        **roles,
    }
    return Case(f"advantages.{function.__name__}", call, {"reward": CHANNELS, "ids": IDS, "ok": valid}, **given)


def dr(reward: Tensor, partition: Partition, ok: Tensor) -> Any:
    return advantages.group_relative(reward, partition, ok, "dr_grpo")


PER_CHANNEL = [
    channels(
        advantages.per_channel,
        groups="ids",
        split="groups",
        effects={"estimator": dr},
        moves=STAYS,
    ),
    channels(
        advantages.gdpo,
        axis=0,
        blind="it whitens over the batch at the end",
        effects={"weights": [1.0, 2.0, 0.5], "convention": "dr_grpo", "whitening": None, "eps": 0.3},
        moves=(Move(("reward",), 0.0),),
        limits=(),
    ),
    replace(
        channels(advantages.gdpo, axis=0),
        name="advantages.gdpo[usable]",
        call=lambda reward, ids, usable: advantages.gdpo(reward, Partition(ids), usable=usable),
        inputs={"reward": CHANNELS, "ids": IDS, "usable": OK},
        masks={"usable": ("reward",)},
        valid=("usable",),
        rows={"reward": 1, "ids": 0, "usable": 0},
        moves=(Move(("reward",), 0.0),),
    ),
    replace(
        channels(advantages.gdpo, axis=0),
        name="advantages.gdpo[steps]",
        call=lambda reward, ids, mask: advantages.gdpo(reward, Partition(ids), mask=mask, whitening="steps"),
        inputs={"reward": CHANNELS, "ids": IDS, "mask": MASK},
        masks={"mask": ()},
        rows={"reward": 1, "ids": 0, "mask": 0},
        moves=(Move(("reward",), 0.0),),
        steps={"mask": 1},
        step_axis=1,
    ),
]


def along(name: str, call: Callable[..., Any], inputs: dict[str, Tensor], **roles: Any) -> Case:
    """A function of rewards and more along the steps [N,T] under a mask."""
    wide = tuple(k for k, x in inputs.items() if x.shape == (ROWS, STEPS))
    given: dict[str, Any] = {
        "real": tuple(k for k, x in inputs.items() if x.is_floating_point()),
        "masks": {"mask": tuple(k for k in wide if k != "mask")},
        "rows": dict.fromkeys(inputs, 0),
        "steps": dict.fromkeys(wide, 1),
        "step_axis": 1,
        "split": "rows",
        **roles,
    }
    return Case(name, call, inputs, **given)


ENDS = torch.zeros(ROWS, STEPS, dtype=torch.bool)
ENDS[2, 1] = ENDS[0, 3] = ENDS[7, 0] = True
CUT = torch.zeros(ROWS, STEPS, dtype=torch.bool)
CUT[2, 3] = CUT[9, 1] = True
NEXT = real(ROWS, STEPS, seed=6)


def remax(reward: Tensor, greedy: Tensor, mask: Tensor, ok: Tensor, **options: Any) -> Any:
    return advantages.remax(reward, greedy, mask, ok=ok, **options)


ALONG = [
    along(
        "advantages.monte_carlo",
        advantages.monte_carlo,
        {"reward": STEP_REWARD, "mask": MASK},
        effects={"gamma": 0.9, "ends": ENDS},
        degrees=(Degree(("reward",), 1.0),),
        function=advantages.monte_carlo,
    ),
    along(
        "advantages.gae",
        advantages.gae,
        {
            "reward": STEP_REWARD,
            "value": VALUE,
            "mask": MASK,
            "terminated": ENDS,
            "truncated": CUT,
            "next_value": NEXT,
        },
        effects={"gamma": 0.9, "lam": 0.5, "episodic": False},
        degrees=(Degree(("reward", "value", "next_value"), 1.0),),
        function=advantages.gae,
    ),
    along(
        "advantages.gae[rows end]",
        lambda reward, value, mask, terminated: advantages.gae(reward, value, mask, terminated=terminated, gamma=0.9),
        {"reward": STEP_REWARD, "value": VALUE, "mask": MASK, "terminated": torch.ones(ROWS, dtype=torch.bool)},
        function=advantages.gae,
        padding={"terminated": True},
        degrees=(Degree(("reward", "value"), 1.0),),
    ),
    along(
        "advantages.remax",
        remax,
        {"reward": REWARD, "greedy": real(ROWS, seed=7), "mask": MASK, "ok": OK},
        masks={"mask": (), "ok": ("reward", "greedy")},
        valid=("ok",),
        moves=(Move(("reward", "greedy"), 0.0),),
        degrees=(Degree(("reward", "greedy"), 1.0),),
        effects={"clip": 0.1, "gamma": 0.9, "step_reward": STEP_REWARD},
        function=advantages.remax,
    ),
    along(
        "advantages.remax[step rewards]",
        remax,
        {"reward": REWARD, "greedy": real(ROWS, seed=7), "mask": MASK, "ok": OK, "step_reward": STEP_REWARD},
        masks={"mask": ("step_reward",), "ok": ("reward", "greedy", "step_reward")},
        valid=("ok",),
        effects={"step_credit": "to_go"},
        moves=(Move(("reward", "greedy"), 0.0),),
        degrees=(Degree(("reward", "greedy", "step_reward"), 1.0),),
        function=advantages.remax,
    ),
    along(
        "advantages.whiten",
        advantages.whiten,
        {"x": STEP_REWARD, "mask": MASK},
        split=None,
        moves=(Move(("x",), 0.0),),
        degrees=(Degree(("x",), 0.0),),
        effects={"centre": False, "correction": 0, "eps": 0.1},
        function=advantages.whiten,
    ),
    along(
        "advantages.whiten[no eps]",
        lambda x, mask: advantages.whiten(x, mask, eps=0.0),
        {"x": STEP_REWARD, "mask": MASK},
        split=None,
        moves=(Move(("x",), 0.0),),
        degrees=(Degree(("x",), 0.0),),
        function=advantages.whiten,
    ),
    along(
        "advantages.spread",
        advantages.spread,
        {"advantage": REWARD, "mask": MASK},
        masks={"mask": ()},
        differentiable=("advantage",),
        degrees=(Degree(("advantage",), 1.0),),
        function=advantages.spread,
    ),
    along(
        "advantages.prime",
        lambda token_reward, outcome, ids, mask, ok, **options: advantages.prime(
            token_reward, outcome, Partition(ids), mask, ok=ok, **options
        ),
        {"token_reward": STEP_REWARD, "outcome": REWARD, "ids": IDS, "mask": MASK, "ok": OK},
        masks={"mask": ("token_reward",), "ok": ("token_reward", "outcome")},
        valid=("ok",),
        groups="ids",
        split="groups",
        moves=(Move(("outcome",), 0.0, "group"), Move(("token_reward",), 0.0, "group")),
        degrees=(Degree(("outcome", "token_reward"), 1.0),),
        effects={"gamma": 0.9, "process_weight": 0.0, "outcome_weight": 5.0, "bounded": True},
        limits=(
            Limit(
                {"process_weight": 0.0},
                lambda token_reward, outcome, ids, mask, ok: (
                    advantages.spread(advantages.rloo(outcome, Partition(ids), ok).advantage, mask),
                    mask & advantages.rloo(outcome, Partition(ids), ok).ok.unsqueeze(-1),
                ),
                "rloo on every step",
            ),
        ),
        function=advantages.prime,
    ),
    along(
        "advantages.span_relative",
        lambda reward, spans, ids, mask, ok, **options: advantages.span_relative(
            reward, spans, Partition(ids), mask, ok, **options
        ),
        {"reward": STEP_REWARD, "spans": SPANS, "ids": IDS, "mask": MASK, "ok": torch.rand(ROWS, STEPS) > -1},
        masks={"mask": ("reward", "spans", "ok")},
        groups="ids",
        split="groups",
        moves=STAYS,
        degrees=(Degree(("reward",), 1.0),),
        effects={"convention": "trl"},
        function=advantages.span_relative,
    ),
    along(
        "advantages.turn_level",
        lambda outcome, reward, spans, ids, mask, ok, **options: advantages.turn_level(
            outcome, reward, spans, Partition(ids), mask, ok=ok, **options
        ),
        {"outcome": REWARD, "reward": STEP_REWARD, "spans": SPANS, "ids": IDS, "mask": MASK, "ok": OK},
        options={"beta": 0.5},
        masks={"mask": ("reward", "spans"), "ok": ("outcome", "reward")},
        valid=("ok",),
        groups="ids",
        split="groups",
        moves=(Move(("outcome",), 0.0, "group"), Move(("reward",), 0.0, "group")),
        degrees=(Degree(("outcome", "reward"), 1.0),),
        effects={"beta": 2.0, "convention": "trl", "turn_ok": MASK.roll(1, 0)},
        limits=(
            Limit(
                {"beta": 0.0},
                lambda outcome, reward, spans, ids, mask, ok: (
                    advantages.spread(dr(outcome, Partition(ids), ok).advantage, mask),
                    mask & dr(outcome, Partition(ids), ok).ok.unsqueeze(-1),
                ),
                "the row's advantage on every step",
            ),
        ),
        function=advantages.turn_level,
    ),
]

CASES = [*GROUPS, *PER_CHANNEL, *ALONG]
