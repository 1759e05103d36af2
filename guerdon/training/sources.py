"""Where a round's material comes from: prompts to sample from, or recorded rows. A source is a pure function of its
position.

The position is one integer, the number of items drawn so far, so a checkpoint holds it exactly and nothing is replayed
on resume.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Protocol

import torch
from torch import Tensor

from guerdon.batch import Lists, Pairs, Samples, Seed
from guerdon.errors import DataError, GuerdonError


@dataclass(frozen=True)
class Draw:
    """One round's material: ``starts`` with their columns, or recorded ``samples`` with pairs, lists and named
    rows.

    position: items drawn in all, after this draw. ids: int64, which items of the source these rows are (recorded rows
    only).
    """

    position: int
    starts: Sequence[Any] = ()
    columns: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    samples: Samples | None = None
    pairs: Pairs | None = None
    lists: Lists | None = None
    rows: Mapping[str, Tensor] = field(default_factory=dict)
    ids: Tensor | None = None


class Source(Protocol):
    """draw: position -> Draw. gives: paths a batch gets from it ('pairs', 'rows.chosen'). recorded: whether it holds
    samples. A source may also name ``still``, those of its paths that are read for sums over the batch alone."""

    @property
    def gives(self) -> tuple[str, ...]:
        """Paths of the batch that come from this source."""
        ...

    @property
    def recorded(self) -> bool:
        """True where nothing is sampled."""
        ...

    def __len__(self) -> int: ...

    def draw(self, position: int) -> Draw:
        """The next round's material after ``position`` items; the same for the same position."""
        ...


@lru_cache(maxsize=8)
def _order(seed: Seed, n: int, epoch: int) -> tuple[int, ...]:
    return tuple(torch.randperm(n, generator=seed.child("epoch", epoch).torch()).tolist())


def positions(seed: Seed | None, n: int, position: int, count: int) -> list[int]:
    """Items at ``position`` … ``position + count − 1`` of an endless sequence that visits all ``n`` once an epoch, each
    epoch in an order of its own drawn from ``seed`` (None: as they stand). A draw may cross into the next epoch; none
    is dropped."""
    at = range(position, position + count)
    return [i % n if seed is None else _order(seed, n, i // n)[i % n] for i in at]


@dataclass(frozen=True)
class Prompts:
    """Starts to sample from: ``per_round`` of them a round, reshuffled every epoch (seed None: in order).

    columns: the data set's columns, one value a start; they reach ``Samples.columns`` repeated for every sample of a
    start.
    """

    starts: Sequence[Any]
    per_round: int
    seed: Seed | None = field(default_factory=lambda: Seed(0).child("prompts"))
    columns: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    gives: tuple[str, ...] = ()
    recorded: bool = False

    def __post_init__(self) -> None:
        _check_size("Prompts", len(self.starts), self.per_round)
        for name, x in self.columns.items():
            if len(x) != len(self.starts):
                raise DataError(
                    f"Prompts.columns[{name!r}] must hold {len(self.starts)} values, one a start, but holds {len(x)}."
                )

    def __len__(self) -> int:
        return len(self.starts)

    def draw(self, position: int) -> Draw:
        """``per_round`` starts and their columns."""
        at = positions(self.seed, len(self), position, self.per_round)
        columns = {name: [x[i] for i in at] for name, x in self.columns.items()}
        return Draw(position + len(at), [self.starts[i] for i in at], columns)


@dataclass(frozen=True)
class Recorded:
    """Recorded rows: with ``pairs``, an item is a pair and both its rows come with it; with ``lists``, a list and all
    its rows; without either, an item is a row.

    A row that stands in several items of one draw is read once. rows: named index sets; a draw keeps the members it
    holds.
    """

    samples: Samples
    per_round: int
    pairs: Pairs | None = None
    rows: Mapping[str, Tensor] = field(default_factory=dict)
    seed: Seed | None = field(default_factory=lambda: Seed(0).child("records"))
    recorded: bool = True
    lists: Lists | None = None

    def __post_init__(self) -> None:
        if self.pairs is not None and self.lists is not None:
            raise GuerdonError("Recorded takes pairs or lists, but both came: an item is one or the other.")
        _check_size("Recorded", len(self), self.per_round)

    @property
    def gives(self) -> tuple[str, ...]:
        """'pairs' or 'lists' where there are any, and the named rows."""
        held = [k for k in ("pairs", "lists") if getattr(self, k) is not None]
        return (*held, *(f"rows.{name}" for name in self.rows))

    def __len__(self) -> int:
        return len(next((x for x in (self.pairs, self.lists) if x is not None), self.samples))

    def draw(self, position: int) -> Draw:
        """``per_round`` items with their rows."""
        at = torch.tensor(positions(self.seed, len(self), position, self.per_round))
        return self._draw(at, position + len(at))

    def chunks(self, items: int) -> Iterator[Draw]:
        """Every item once, in order, ``items`` at a time: for held-out data."""
        for low in range(0, len(self), items):
            yield self._draw(torch.arange(low, min(low + items, len(self))), min(low + items, len(self)))

    def held_out(self, fraction: float, seed: Seed) -> "tuple[Recorded, Recorded]":
        """(train, held out): prompts are parted, never the rows of one prompt. Both sides hold at least one item.

        Raises GuerdonError where ``fraction`` does not lie in (0, 1), or there is one prompt only.
        """
        if not 0 < fraction < 1:
            raise GuerdonError(f"Recorded.held_out(fraction=…) must lie in (0, 1), but {fraction} came.")
        prompt = self.samples.partition("prompt").ids
        groups = int(prompt.max()) + 1
        if groups < 2:
            raise GuerdonError("Recorded.held_out needs at least two prompts to part, but there is one.")
        order = torch.randperm(groups, generator=seed.child("held out").torch())
        out = order[: min(groups - 1, max(1, round(fraction * groups)))]
        held = torch.isin(prompt, out)
        first = self.pairs.winner if self.pairs is not None else None
        first = self.lists.rows[:, 0] if self.lists is not None else first
        of_item = held if first is None else held[first]
        return self._only(~of_item), self._only(of_item)

    def _only(self, keep: Tensor) -> "Recorded":
        draw = self._draw(keep.nonzero()[:, 0], 0)
        assert draw.samples is not None
        items = int(keep.sum())
        per_round = min(self.per_round, max(1, items))
        return Recorded(draw.samples, per_round, draw.pairs, draw.rows, self.seed, lists=draw.lists)

    def _draw(self, at: Tensor, position: int) -> Draw:
        pairs = lists = None
        if self.lists is not None:
            drawn = self.lists.at(at)
            ids, new = torch.unique(drawn.rows, return_inverse=True)
            absent = int(ids[0] == -1)
            ids, lists = ids[absent:], drawn.at(slice(None), new - absent)
        elif self.pairs is None:
            ids = at
        else:
            sides = torch.cat([self.pairs.winner[at], self.pairs.loser[at]])
            ids, new = torch.unique(sides, return_inverse=True)
            optional = {k: getattr(self.pairs, k) for k in ("preferred", "margin", "weight")}
            pairs = Pairs(
                new[: len(at)], new[len(at) :], **{k: None if x is None else x[at] for k, x in optional.items()}
            )
        renumber = torch.full((len(self.samples),), -1, dtype=torch.int64)
        renumber[ids] = torch.arange(len(ids))
        rows = {name: renumber[x][renumber[x] >= 0] for name, x in self.rows.items()}
        return Draw(position, samples=self.samples.take(ids), pairs=pairs, lists=lists, rows=rows, ids=ids)


def _check_size(owner: str, n: int, per_round: int) -> None:
    if n == 0:
        raise DataError(f"{owner} holds nothing to train on; check the file and its filters.")
    if per_round < 1:
        raise GuerdonError(f"{owner}.per_round must be at least 1, but {per_round} came.")
