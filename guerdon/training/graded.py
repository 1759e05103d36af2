"""Lists of a pair and its graded copies as what a degree loss reads beside the loss of the pair."""

from collections.abc import Iterator
from dataclasses import replace

import torch

from guerdon.batch import Batch, Lists, Pairs
from guerdon.training.recipe import Build, Rollout


def graded_lists() -> Build:
    """From lists (y_w, y_l, ỹ_1, …, ỹ_M), as ``data.with_degrees`` orders them, the pairs (y_w, y_l) and the lists
    (y_w, ỹ_1, …, ỹ_M): copies never meet the pairs' loss. Weights of lists are those of both."""

    def call(batch: Batch, rollout: Rollout) -> Iterator[Batch]:
        lists: Lists = batch.read("lists")
        pairs = Pairs(lists.rows[:, 0], lists.rows[:, 1], weight=lists.weight)
        copies = torch.cat([lists.rows[:, :1], lists.rows[:, 2:]], 1)
        yield replace(batch, pairs=pairs, lists=Lists(copies, weight=lists.weight), block=batch.blocks())

    return Build("graded_lists", call, gives=("pairs",))
