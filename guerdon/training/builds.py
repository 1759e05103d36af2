"""Builds: from a round's batch to the batches of its updates."""

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from guerdon.batch import Batch, Pairs
from guerdon.errors import GuerdonError
from guerdon.training.recipe import Build, Rollout


def whole() -> Build:
    """The round's batch as it is, in one update."""
    return Build("whole", lambda batch, rollout: (batch,))


def minibatches(count: int, epochs: int = 1) -> Build:
    """``count`` minibatches an epoch along whole blocks, shuffled anew every epoch by the round's seed (PPO, GRPO with
    μ epochs)."""
    if count < 1 or epochs < 1:
        raise GuerdonError(f"minibatches: count and epochs must be at least 1, but {count} and {epochs} came.")

    def call(batch: Batch, rollout: Rollout) -> Iterator[Batch]:
        _, block = torch.unique(batch.blocks().cpu(), return_inverse=True)
        blocks = int(block.max()) + 1 if len(block) else 0
        for epoch in range(epochs):
            place = torch.empty(blocks, dtype=torch.int64)
            place[torch.randperm(blocks, generator=rollout.seed.child("minibatches", epoch).torch())] = torch.arange(
                blocks
            )
            part = (place * count).div(max(1, blocks), rounding_mode="floor")[block]
            for k in range(count):
                rows = (part == k).nonzero()[:, 0].to(batch.device)
                if len(rows):
                    yield batch.take(rows)

    return Build(f"minibatches({count}, {epochs})", call, updates=count * epochs)


def best_worst(
    channel: str | None = None, least: float = 0.0, keep: str | None = None, compare_kept: bool = True
) -> Build:
    """Of every prompt the best against the worst row by a channel (iterative DPO); the other rows are left out.

    Prompts whose gap is not above ``least``, ties included, give no pair. Among equal rows the first is taken. keep:
    a named set whose rows stay although they are in no pair (SELM, XPO: the reference's draws); ``compare_kept`` says
    whether they may also be the best or the worst.
    """

    def call(batch: Batch, rollout: Rollout) -> Iterator[Batch]:
        value, ok = _values(rollout, channel)
        kept_rows = torch.zeros(0, dtype=torch.int64) if keep is None else batch.read(f"rows.{keep}").cpu()
        if not compare_kept:
            ok = ok.index_fill(0, kept_rows, False)
        winner, loser = extremes(value, rollout.samples.partition("prompt").ids, ok)
        gap = value[winner] - value[loser]
        kept = gap > least
        pairs = Pairs(winner[kept].to(batch.device), loser[kept].to(batch.device))
        rows = torch.cat([pairs.winner, pairs.loser, kept_rows.to(batch.device)]).unique()
        yield replace(batch, pairs=pairs, block=None).take(rows)

    return Build("best_worst", call, gives=("pairs",))


def keep_best(k: int = 1, channel: str | None = None, above: float = float("-inf")) -> Build:
    """The ``k`` best rows of every prompt whose channel exceeds ``above`` (RAFT, rejection sampling). The first of
    equal rows comes first."""
    if k < 1:
        raise GuerdonError(f"keep_best(k=…) must be at least 1, but {k} came.")

    def call(batch: Batch, rollout: Rollout) -> Iterator[Batch]:
        value, ok = _values(rollout, channel)
        ids = rollout.samples.partition("prompt").ids
        order = _sorted(value, ids, ok & (value > above))
        first = torch.searchsorted(ids[order], ids[order], side="left")
        rank = torch.arange(len(order)) - first
        yield batch.take(order[rank < k].sort().values.to(batch.device))

    return Build(f"keep_best({k})", call)


def extremes(value: Tensor, ids: Tensor, ok: Tensor) -> tuple[Tensor, Tensor]:
    """(best, worst) row int64 [G] of every group with at least one ok row, in order of ids; the first of equal rows."""
    best, worst = _sorted(value, ids, ok), _sorted(-value, ids, ok)
    return _firsts(best, ids), _firsts(worst, ids)


def _sorted(value: Tensor, ids: Tensor, ok: Tensor) -> Tensor:
    """Ok rows in groups, by falling value; stable."""
    rows = (ok & (ids >= 0)).nonzero()[:, 0]
    rows = rows[torch.argsort(value[rows], descending=True, stable=True)]
    return rows[torch.argsort(ids[rows], stable=True)]


def _firsts(order: Tensor, ids: Tensor) -> Tensor:
    group = ids[order]
    new = torch.ones_like(group, dtype=torch.bool)
    new[1:] = group[1:] != group[:-1]
    return order[new]


def _values(rollout: Rollout, channel: str | None) -> tuple[Tensor, Tensor]:
    found = rollout.scores.only() if channel is None else rollout.scores[channel]
    if found.value.ndim != 1:
        raise GuerdonError(
            "Rows are ranked by a channel of one value a row, but this one has a value a step; combine its steps first."
        )
    return found.filled().detach().cpu(), found.ok.cpu()
