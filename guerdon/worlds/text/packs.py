"""Token rows as packs: no padding, and what rows of one prompt share is there once.

A pack is a forest. Every tree has a trunk (a prompt, or a whole row that shares its prompt with none) and branches (the
responses to that prompt). A token sees its trunk up to itself, or its whole trunk and its branch up to itself; its
position counts from the trunk's first token. That is all a causal model ever sees of the row, so the rows' hidden
states are those of the forest's tokens.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush

import torch
from torch import Tensor

from guerdon.batch import TokenRows
from guerdon.errors import GuerdonError


@dataclass(frozen=True)
class Segment:
    """A trunk or a branch: the flat tokens [start, stop), behind ``before`` trunk tokens from ``trunk`` on (none for a
    trunk itself, whose ``trunk`` is its own start)."""

    start: int
    stop: int
    trunk: int
    before: int = 0


@dataclass(frozen=True)
class Pack:
    """M tokens of some rows, trunks before branches.

    ids, position: int64 [M]. segments: they cover the tokens in order. labels: int64 [m], the chosen tokens; read:
    int64 [m], the flat number of the token whose state predicts each; own: int64 [m], that of the label itself; place:
    int64 [m], where each stands in the [N·L] of the rows; row: int64 [m]; last: bool [m], whether it is its row's last
    token. moving: the first tokens, which may carry gradient; the segments behind them are of still rows alone.
    """

    ids: Tensor
    position: Tensor
    segments: tuple[Segment, ...]
    labels: Tensor
    read: Tensor
    own: Tensor
    place: Tensor
    row: Tensor
    last: Tensor
    moving: int


_READ, _SEEN = 0.5, 512
"""Beside a token's way through the layers, roughly: what its logits cost, and how many tokens it sees for as much
again. Small models pay more for both; only the share of each lane hangs on it."""


@dataclass(frozen=True)
class _Tree:
    """Rows with one prompt of ``shared`` tokens; a single row has no branch and is shared whole. work: about what
    reading it costs, in tokens."""

    rows: tuple[int, ...]
    shared: int
    tokens: int
    work: float


def packs(
    rows: TokenRows, max_tokens: int, share: bool = True, still: Tensor | None = None, lanes: int = 1
) -> Iterator[Pack]:
    """Packs of at most ``max_tokens`` tokens each (at least one tree), trees of similar trunks together. Rows without
    a chosen token are left out. share False: every row a tree of its own. still: bool [N], rows whose own tokens stand
    last, so that they can be read without gradient. lanes: how many packs will be read at once; beyond 1 they are made
    for like work instead, and their number is a multiple of it where there are trees enough.

    Raises GuerdonError where a row begins with a chosen token, which nothing predicts.
    """
    flat = _Flat(rows, still)
    trees = flat.trees(share, max_tokens)
    for part in _budgeted(trees, max_tokens) if lanes == 1 else _evened(trees, max_tokens, lanes):
        yield flat.pack(part)


class _Flat:
    """Rows without their padding, as plain lists and offsets."""

    def __init__(self, rows: TokenRows, still: Tensor | None) -> None:
        self.still: list[bool] = [False] * len(rows) if still is None else still.tolist()
        self.device = rows.ids.device
        real = rows.attention.nonzero()
        self.place = real[:, 0] * rows.width + real[:, 1]
        self.ids = rows.ids[rows.attention]
        self.chosen = rows.response[rows.attention]
        length = rows.attention.sum(1)
        self.length: list[int] = length.tolist()
        begin = length.cumsum(0) - length
        self.begin: list[int] = begin.tolist()
        # Number of prompt tokens before the first chosen one, the whole length where there is none.
        at = torch.arange(len(self.ids), device=self.device) - begin.repeat_interleave(length)
        whole = length.repeat_interleave(length)
        first = torch.full_like(length, torch.iinfo(torch.int64).max).scatter_reduce(
            0, real[:, 0], torch.where(self.chosen, at, whole), "amin"
        )
        self.prompt: list[int] = torch.minimum(first, length).tolist()
        self.at, self.row = at, real[:, 0]
        for i, (p, n) in enumerate(zip(self.prompt, self.length, strict=True)):
            if p == 0 and n > 0:
                raise GuerdonError(
                    f"Row {i} begins with a response token, which nothing predicts; give its prompt at least one token "
                    "(the beginning of sequence)."
                )

    def trees(self, share: bool, max_tokens: int) -> list[_Tree]:
        """Rows that have something chosen, by prompt; a tree that would burst the budget is parted."""
        ids = self.ids.cpu().numpy()
        groups: dict[object, list[int]] = {}
        for i, (p, n, begin) in enumerate(zip(self.prompt, self.length, self.begin, strict=True)):
            if p < n:
                groups.setdefault(ids[begin : begin + p].tobytes() if share else i, []).append(i)
        out = []
        for members in groups.values():
            shared = self.prompt[members[0]]
            part: list[int] = []
            tokens = shared
            for i in members:
                more = self.length[i] - shared
                if part and tokens + more > max_tokens:
                    out.append(self._tree(part, shared, tokens))
                    part, tokens = [], shared
                part, tokens = [*part, i], tokens + more
            out.append(self._tree(part, shared, tokens))
        return sorted(out, key=lambda t: t.shared)

    def _tree(self, members: Sequence[int], shared: int, tokens: int) -> _Tree:
        alone = len(members) == 1
        own = [self.length[i] - shared for i in members]
        seen = tokens**2 if alone else shared**2 + sum(n * (shared + n) for n in own)
        return _Tree(tuple(members), tokens if alone else shared, tokens, tokens + _READ * sum(own) + seen / _SEEN)

    def pack(self, trees: Sequence[_Tree]) -> Pack:
        """The forest of these trees."""
        cuts, segments, moving = self._cut(trees)
        source = self._tokens(cuts)
        number = torch.arange(len(source), device=self.device)
        before = number - 1
        starts = [s for s in segments if s.before]
        if starts:  # the first token of a branch follows its trunk's last
            ends = torch.tensor([s.trunk + s.before - 1 for s in starts], device=self.device)
            before[torch.tensor([s.start for s in starts], device=self.device)] = ends
        own = number[self.chosen[source]]
        at = source[own]
        length = torch.tensor(self.length, device=self.device)
        return Pack(
            self.ids[source],
            self.at[source],
            tuple(segments),
            self.ids[at],
            before[own],
            own,
            self.place[at],
            self.row[at],
            self.at[at] == length[self.row[at]] - 1,
            moving,
        )

    def _cut(self, trees: Sequence[_Tree]) -> tuple[list[tuple[int, int, int]], list[Segment], int]:
        """(row, from, to) of every segment, the segments, and how many of their tokens may carry gradient: trunks and
        branches with a moving row first, then those of still rows alone."""
        cuts: list[tuple[int, int, int]] = []
        segments: list[Segment] = []
        trunks: dict[int, Segment] = {}

        def put(row: int, begin: int, end: int, trunk: Segment | None = None) -> Segment:
            at = segments[-1].stop if segments else 0
            cuts.append((row, begin, end))
            segments.append(Segment(at, at + end - begin, at if trunk is None else trunk.start, begin))
            return segments[-1]

        moving = 0
        for still in (False, True):
            for k, tree in enumerate(trees):
                if all(self.still[i] for i in tree.rows) == still:
                    trunks[k] = put(tree.rows[0], 0, tree.shared)
            for k, tree in enumerate(trees):
                for i in tree.rows if len(tree.rows) > 1 else ():
                    if self.still[i] == still:
                        put(i, tree.shared, self.length[i], trunks[k])
            if not still:
                moving = segments[-1].stop if segments else 0
        return cuts, segments, moving

    def _tokens(self, cuts: Sequence[tuple[int, int, int]]) -> Tensor:
        """Flat numbers in the rows of the segments (row, from, to), one after the other."""
        begin = torch.tensor([self.begin[i] + a for i, a, _ in cuts], device=self.device)
        size = torch.tensor([b - a for _, a, b in cuts], device=self.device)
        offset = torch.arange(int(size.sum()), device=self.device) - (size.cumsum(0) - size).repeat_interleave(size)
        return begin.repeat_interleave(size) + offset


def _budgeted(trees: Sequence[_Tree], max_tokens: int) -> Iterator[list[_Tree]]:
    part: list[_Tree] = []
    tokens = 0
    for tree in trees:
        if part and tokens + tree.tokens > max_tokens:
            yield part
            part, tokens = [], 0
        part.append(tree)
        tokens += tree.tokens
    if part:
        yield part


def _evened(trees: Sequence[_Tree], max_tokens: int, lanes: int) -> list[list[_Tree]]:
    """Every tree, the most work first, to the pack that has least by then; packs more until they fit."""
    by_work = sorted(trees, key=lambda t: -t.work)
    count = lanes * -(-sum(t.tokens for t in trees) // (lanes * max_tokens))
    while True:
        parts: list[list[_Tree]] = [[] for _ in range(min(count, len(trees)))]
        least = [(0.0, i) for i in range(len(parts))]
        for tree in by_work:
            work, i = heappop(least)
            parts[i].append(tree)
            heappush(least, (work + tree.work, i))
        if all(len(part) == 1 or sum(t.tokens for t in part) <= max_tokens for part in parts):
            return parts
        count += lanes
