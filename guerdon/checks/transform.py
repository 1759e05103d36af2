"""``check_transform``: a transform keeps invalid values invalid and out of every statistic, and its state explicit."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from guerdon.batch import Channel, Samples, Status
from guerdon.checks.case import Case, CheckFailed, NotApplicable
from guerdon.checks.compare import flat
from guerdon.checks.run import hold, run_all
from guerdon.rewards.interface import Context, Transform


def transform_case(
    transform: Transform, channel: Channel, samples: Samples, context: Context | None = None, **roles: Any
) -> Case:
    """A transform on a channel [N] as a case: values, their validity and the order of rows are its inputs."""
    context = context or Context()
    if bool(channel.ok.all()):
        status = torch.zeros(len(channel.value), dtype=torch.int8)
        status[-1] = int(Status.NOT_APPLICABLE)
        channel = Channel(channel.value, status, channel.spread)
    wide = channel.value.dtype

    def call(value: Tensor, ok: Tensor, order: Tensor) -> tuple[Tensor, Tensor]:
        status = torch.where(ok, int(Status.OK), int(Status.NOT_APPLICABLE)).to(torch.int8)
        out, _ = transform.apply(Channel(value, status), samples.take(order), transform.init(), context)
        return out.filled(), out.statuses()

    rows = {"value": 0, "ok": 0, "order": 0}
    groups = {}
    name = getattr(transform, "partition", None)
    if isinstance(name, str) and (name in samples.partitions):
        groups = {"ids": samples.partition(name).ids}
        rows["ids"] = 0
    inputs = {
        "value": torch.where(channel.ok, channel.value.detach(), torch.ones((), dtype=wide)),
        "ok": channel.ok,
        "order": torch.arange(len(samples)),
        **groups,
    }

    def with_ids(ids: Tensor, **given: Tensor) -> tuple[Tensor, Tensor]:
        return call(**given)

    given: dict[str, Any] = {
        "real": ("value",),
        "differentiable": ("value",),
        "masks": {"ok": ("value",)},
        "valid": ("ok",),
        "rows": rows,
        "groups": "ids" if groups else None,
        "split": "groups" if groups else None,
        **roles,
    }
    return Case(transform.name, with_ids if groups else call, inputs, **given)


def check_transform(
    transform: Transform,
    channel: Channel,
    samples: Samples,
    context: Context | None = None,
    *,
    skip: Mapping[str, str] = MappingProxyType({}),
    **roles: Any,
) -> dict[str, str]:
    """Hold a transform to the properties of ``Case`` and to its own: property -> outcome; raises CheckFailed.

    Its own: statuses stay as they are; equal calls give equal results; neither channel, samples nor state are changed;
    the state stays the same when ``context.training`` is False. Give at least two groups of several rows, one value
    invalid. skip: property -> why it need not hold. roles: what else is claimed (see ``Case``).
    """
    context = context or Context()
    own = {
        "statuses_kept": statuses_kept,
        "deterministic": deterministic,
        "nothing_mutated": nothing_mutated,
        "frozen_state": frozen_state,
    }
    given = (transform, channel, samples, context)
    found = hold({name: partial(rule, *given) for name, rule in own.items()}, skip, transform.name)
    return {**found, **run_all(transform_case(transform, channel, samples, context, **roles), skip)}


def statuses_kept(transform: Transform, channel: Channel, samples: Samples, context: Context) -> None:
    """Every status stays what it is."""
    out, _ = transform.apply(channel, samples, transform.init(), context)
    if not torch.equal(out.statuses(), channel.statuses()):
        raise CheckFailed("a transform must leave every status as it is.")


def deterministic(transform: Transform, channel: Channel, samples: Samples, context: Context) -> None:
    """Equal calls give equal results and states."""
    first, second = (transform.apply(channel, samples, transform.init(), context) for _ in range(2))
    if not equal(first, second):
        raise CheckFailed("two equal calls gave different results; draw from context.seed.")


def nothing_mutated(transform: Transform, channel: Channel, samples: Samples, context: Context) -> None:
    """The arguments are as they were."""
    state = transform.init()
    _, state = transform.apply(channel, samples, state, context)
    before = copy.deepcopy((channel.value.detach(), channel.statuses(), state))
    transform.apply(channel, samples, state, context)
    if not equal(before, (channel.value.detach(), channel.statuses(), state)):
        raise CheckFailed("the call changed the channel or the state it was given; return new ones.")


def frozen_state(transform: Transform, channel: Channel, samples: Samples, context: Context) -> None:
    """Nothing is learned while training is False."""
    _, state = transform.apply(channel, samples, transform.init(), context)
    if not state:
        raise NotApplicable("it has no state")
    _, after = transform.apply(channel, samples, state, replace(context, training=False))
    if not equal(state, after):
        raise CheckFailed("the state changed although context.training is False.")


def equal(a: Any, b: Any) -> bool:
    """Bitwise equality of nested tensors and numbers, NaN equal to NaN."""
    left, right = flat(_plain(a)), flat(_plain(b))
    if len(left) != len(right):
        return False
    return all(
        x.shape == y.shape and bool(((x == y) | ((x != x) & (y != y))).all()) for x, y in zip(left, right, strict=True)
    )


def _plain(x: Any) -> Any:
    if isinstance(x, Channel):
        return [x.value.detach(), x.statuses(), x.spread]
    if isinstance(x, Mapping):
        return {k: _plain(v) for k, v in sorted(x.items())}
    if isinstance(x, tuple | list):
        return [_plain(v) for v in x]
    return x if isinstance(x, Tensor | bool | int | float | str) or x is None else repr(x)
