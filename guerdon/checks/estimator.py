"""``check_estimator``: an advantage estimator keeps groups apart and leaves invalid rows out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from guerdon.batch import Partition
from guerdon.checks.case import Case, Degree, Move
from guerdon.checks.run import run_all


def estimator_case(
    estimator: Callable[[Tensor, Partition, Tensor], Any],
    rewards: Tensor,
    partition: Partition,
    ok: Tensor | None = None,
    *,
    shift: bool = True,
    degree: float | None = None,
    isolated: bool = True,
    name: str | None = None,
) -> Case:
    """An estimator (rewards [N], partition, ok [N]) -> Estimate as a case; see ``check_estimator``."""
    if ok is None:
        # Without an invalid row nothing could be seen: the last row of the first group that has several is left out.
        ok = torch.ones(len(rewards), dtype=torch.bool)
        ok[int(partition.ids.eq(partition.ids[0]).nonzero()[-1])] = False

    def call(reward: Tensor, ids: Tensor, ok: Tensor) -> Any:
        return estimator(reward, Partition(ids), ok)

    return Case(
        name or str(getattr(estimator, "__name__", "estimator")),
        call,
        {"reward": rewards, "ids": partition.ids, "ok": ok},
        real=("reward",),
        masks={"ok": ("reward",)},
        valid=("ok",),
        rows={"reward": 0, "ids": 0, "ok": 0},
        groups="ids",
        blind=None if isolated else "it divides by a statistic of the whole batch",
        split="groups" if isolated else None,
        moves=(Move(("reward",), 0.0, "group" if isolated else "all"),) if shift else (),
        degrees=() if degree is None else (Degree(("reward",), degree),),
        tolerance=1e-5,
    )


def check_estimator(
    estimator: Callable[[Tensor, Partition, Tensor], Any],
    rewards: Tensor,
    partition: Partition,
    ok: Tensor | None = None,
    *,
    shift: bool = True,
    degree: float | None = None,
    isolated: bool = True,
    skip: Mapping[str, str] = MappingProxyType({}),
) -> dict[str, str]:
    """Hold an estimator (rewards [N], partition, ok bool [N]) -> Estimate [N] to every property that applies.

    shift: a constant added to a group's rewards changes nothing. degree: how the advantage scales with the rewards (1
    for differences, 0 where they are divided by a std), None where it is neither. isolated: groups do not touch each
    other; False where a statistic of the whole batch is used (then batches cannot be split either). skip: property ->
    why it need not hold. Give at least two groups of several rows. Returns property -> outcome; raises CheckFailed.
    """
    return run_all(
        estimator_case(estimator, rewards, partition, ok, shift=shift, degree=degree, isolated=isolated), skip
    )
