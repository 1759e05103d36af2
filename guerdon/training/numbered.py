"""Numbers for the pairs of a batch, so that its parts can write into one table of all of them."""

from collections.abc import Iterator
from dataclasses import replace

import torch

from guerdon.batch import Batch
from guerdon.errors import NeedsError
from guerdon.training.recipe import Build, Rollout


def number_pairs(batch: Batch) -> Batch:
    """The batch with the column 'pair', int64 [N,2]: the number of the first pair that the row wins, pairs counted
    winner by winner, and the number of all pairs. A loss of sorted pairs reads it (``objectives.aot``).

    It follows the rows into micro-batches. Raises NeedsError for a batch without pairs.
    """
    if batch.pairs is None:
        raise NeedsError("Pairs were to be numbered, but the batch has none.")
    wins = torch.bincount(batch.pairs.winner, minlength=len(batch))
    first = wins.cumsum(0) - wins
    return replace(batch, columns={**batch.columns, "pair": torch.stack([first, wins.sum().expand_as(first)], -1)})


def numbered_pairs() -> Build:
    """The round's batch in one update, its pairs numbered (``number_pairs``)."""

    def call(batch: Batch, rollout: Rollout) -> Iterator[Batch]:
        yield number_pairs(batch)

    return Build("numbered_pairs", call, gives=("columns.pair",))
