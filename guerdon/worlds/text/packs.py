"""Token rows as packs: no padding, and what rows of one prompt share is there once.

A pack is a forest. Every tree has a trunk (a prompt, or a whole row that shares its prompt with none) and branches (the
responses to that prompt). A token sees its trunk up to itself, or its whole trunk and its branch up to itself; its
position counts from the trunk's first token. That is all a causal model ever sees of the row, so the rows' hidden
states are those of the forest's tokens.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from guerdon.batch import TokenRows
from guerdon.errors import GuerdonError


@dataclass(frozen=True)
class Tiles:
    """Segments of a flat token list side by side: slots int64 [B,W], the flat number of each token, 0 where there is
    none; real bool [B,W], True on tokens, which stand left."""

    slots: Tensor
    real: Tensor


@dataclass(frozen=True)
class Pack:
    """M tokens of some rows, trunks before branches.

    ids, position: int64 [M]. trunks: Tiles of G trunks. branches: Tiles of B branches, or None; parent int64 [B], the
    trunk of each. labels: int64 [m], the chosen tokens; read: int64 [m], the token whose state predicts each; own:
    int64 [m], the token that each label is; place: int64 [m], where each stands in the flat [N·L] of the rows. rows:
    int64, the rows in it; last: bool [m], whether a label is its row's last token.
    """

    ids: Tensor
    position: Tensor
    trunks: Tiles
    branches: Tiles | None
    parent: Tensor
    labels: Tensor
    read: Tensor
    own: Tensor
    place: Tensor
    last: Tensor
    row: Tensor


@dataclass(frozen=True)
class _Tree:
    """Rows with one prompt of ``shared`` tokens; a single row has no branch and is shared whole."""

    rows: tuple[int, ...]
    shared: int
    tokens: int


def packs(rows: TokenRows, max_tokens: int, share: bool = True) -> Iterator[Pack]:
    """Packs of at most ``max_tokens`` tokens each (at least one tree), trees of similar trunks together. Rows without
    a chosen token are left out. share False: every row a tree of its own.

    Raises GuerdonError where a row begins with a chosen token, which nothing predicts.
    """
    flat = _Flat(rows)
    for trees in _budgeted(flat.trees(share, max_tokens), max_tokens):
        yield flat.pack(trees)


class _Flat:
    """Rows without their padding, as plain lists and offsets."""

    def __init__(self, rows: TokenRows) -> None:
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
        return _Tree(tuple(members), tokens if len(members) == 1 else shared, tokens)

    def pack(self, trees: Sequence[_Tree]) -> Pack:
        """The forest of these trees."""
        cuts = [(t.rows[0], 0, t.shared) for t in trees]
        branched = [(i, t.shared, self.length[i]) for t in trees if len(t.rows) > 1 for i in t.rows]
        parent = [g for g, t in enumerate(trees) if len(t.rows) > 1 for _ in t.rows]
        trunks, after = self._segments(cuts, 0)
        tokens, used = [self._tokens(cuts)], after
        branches = None
        if branched:
            branches, _ = self._segments(branched, used)
            tokens.append(self._tokens(branched))
        source = torch.cat(tokens)
        chosen = self.chosen[source].clone()
        number = torch.arange(len(source), device=self.device)
        before = number - 1
        if branches is not None:  # the first token of a branch follows its trunk's last
            starts = branches.slots[:, 0]
            ends = trunks.slots.gather(1, trunks.real.sum(1, keepdim=True) - 1).squeeze(1)
            before[starts] = ends[torch.tensor(parent, device=self.device)]
        own = number[chosen]
        at = source[own]
        length = torch.tensor(self.length, device=self.device)
        return Pack(
            self.ids[source],
            self.at[source],
            trunks,
            branches,
            torch.tensor(parent, dtype=torch.int64, device=self.device),
            self.ids[at],
            before[own],
            own,
            self.place[at],
            self.at[at] == length[self.row[at]] - 1,
            self.row[at],
        )

    def _tokens(self, cuts: Sequence[tuple[int, int, int]]) -> Tensor:
        """Flat numbers in the rows of the segments (row, from, to), one after the other."""
        begin = torch.tensor([self.begin[i] + a for i, a, _ in cuts], device=self.device)
        size = torch.tensor([b - a for _, a, b in cuts], device=self.device)
        offset = torch.arange(int(size.sum()), device=self.device) - (size.cumsum(0) - size).repeat_interleave(size)
        return begin.repeat_interleave(size) + offset

    def _segments(self, cuts: Sequence[tuple[int, int, int]], first: int) -> tuple[Tiles, int]:
        """Tiles of segments that stand one after the other from token number ``first`` on, and the number after
        them."""
        size = torch.tensor([b - a for _, a, b in cuts], device=self.device)
        start = size.cumsum(0) - size + first
        along = torch.arange(int(size.max()), device=self.device)
        real = along < size[:, None]
        return Tiles(torch.where(real, start[:, None] + along, 0), real), first + int(size.sum())


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
