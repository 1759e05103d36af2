"""Builds of lists: all usable responses to a prompt, with what a reward says of each."""

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from guerdon.batch import Batch, Lists
from guerdon.reduce import dense_ids
from guerdon.training.builds import minibatches
from guerdon.training.estimators import row_reward
from guerdon.training.recipe import Build, Rollout


def lists_of(ids: Tensor, value: Tensor, ok: Tensor) -> Lists:
    """Rows [N] of equal ids as a list, in row order, with their values; rows that are not ok, or of id −1, stand in
    none."""
    dense, groups = dense_ids(ids, ok)
    rows = (dense >= 0).nonzero()[:, 0]
    rows = rows[torch.argsort(dense[rows], stable=True)]
    group = dense[rows]
    place = torch.arange(len(rows)) - torch.searchsorted(group, group, side="left")
    wide = int(place.max()) + 1 if len(rows) else 1
    number = torch.full((groups, wide), -1, dtype=torch.int64).index_put((group, place), rows)
    held = torch.zeros(groups, wide).index_put((group, place), value[rows].float())
    return Lists(number, held)


def prompt_lists(channel: str | None = None, count: int = 1, epochs: int = 1, least: int = 2) -> Build:
    """Every prompt's rows as one list valued by a channel (its only one if None): BRAIn, GPO and LiPO on samples.

    Prompts with fewer than ``least`` usable rows are left out, with their rows. count, epochs: minibatches of whole
    lists an epoch, and passes over the round.
    """
    parted = minibatches(count, epochs)

    def call(batch: Batch, rollout: Rollout) -> Iterator[Batch]:
        value, ok = (x.cpu() for x in row_reward(rollout, channel=channel))
        lists = lists_of(rollout.samples.partition("prompt").ids.cpu(), value, ok)
        lists = lists.at(lists.mask.sum(-1) >= least)
        used = lists.rows[lists.mask].sort().values.to(batch.device)
        if len(used):
            yield from parted(replace(batch, lists=lists.to(batch.device), block=None).take(used), rollout)

    return Build(f"prompt_lists({count}, {epochs})", call, gives=("lists",), updates=count * epochs)
