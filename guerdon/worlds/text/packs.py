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

_WIDER, _SLACK = 1.5, 8
"""A tile takes segments up to this much longer than its shortest: padding costs work, a tile more costs calls."""


@dataclass(frozen=True)
class Tile:
    """B segments of similar length side by side, as attention sees them: what queries, and what they may see.

    queries: int64 [B,W], flat numbers of tokens, left; real bool [B,W], False on padding (which repeats some token).
    keys: int64 [B,K], flat numbers; query w of segment b sees the first ``offset[b] + w + 1``. offset: int64 [B], or
    None where queries and keys are the same tokens.
    """

    queries: Tensor
    real: Tensor
    keys: Tensor
    offset: Tensor | None

    def mask(self, dtype: torch.dtype) -> Tensor | None:
        """[B,1,W,K], 0 where a query may look and −inf elsewhere; None where each sees what stands before it."""
        if self.offset is None:
            return None
        device = self.keys.device
        seen = self.offset[:, None] + torch.arange(1, self.queries.shape[1] + 1, device=device)
        hidden = torch.arange(self.keys.shape[1], device=device) >= seen[..., None]
        return torch.zeros(hidden.shape, dtype=dtype, device=device).masked_fill_(hidden, -torch.inf)[:, None]


@dataclass(frozen=True)
class Pack:
    """M tokens of some rows, trunks before branches.

    ids, position: int64 [M]. tiles: they hold every token once as a query. final: tiles whose queries are at least the
    tokens whose states predict a chosen one. labels: int64 [m], the chosen tokens; read: int64 [m], the flat number of
    the token whose state predicts each; own: int64 [m], that of the label itself; place: int64 [m], where each stands
    in the [N·L] of the rows; row: int64 [m]; last: bool [m], whether it is its row's last token.
    """

    ids: Tensor
    position: Tensor
    tiles: tuple[Tile, ...]
    final: tuple[Tile, ...]
    labels: Tensor
    read: Tensor
    own: Tensor
    place: Tensor
    row: Tensor
    last: Tensor


@dataclass(frozen=True)
class _Segment:
    """A trunk or a branch: the flat numbers of its tokens [start, start + size), behind a trunk of ``before`` tokens
    from ``trunk`` on (0 for a trunk itself), and the first of its tokens that predicts something."""

    start: int
    size: int
    trunk: int
    before: int
    needed: int


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
        segments: list[_Segment] = []
        begin = 0
        for i, _, size in cuts:
            segments.append(_Segment(begin, size, begin, 0, min(self.prompt[i], size) - 1))
            begin += size
        for tree, trunk in zip(trees, list(segments), strict=True):
            for i in tree.rows if len(tree.rows) > 1 else ():
                size = self.length[i] - tree.shared
                cuts.append((i, tree.shared, self.length[i]))
                segments.append(_Segment(begin, size, trunk.start, trunk.size, 0))
                begin += size
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
            self._tiles(segments, whole=True),
            self._tiles(segments, whole=False),
            self.ids[at],
            before[own],
            own,
            self.place[at],
            self.row[at],
            self.at[at] == length[self.row[at]] - 1,
        )

    def _tokens(self, cuts: Sequence[tuple[int, int, int]]) -> Tensor:
        """Flat numbers in the rows of the segments (row, from, to), one after the other."""
        begin = torch.tensor([self.begin[i] + a for i, a, _ in cuts], device=self.device)
        size = torch.tensor([b - a for _, a, b in cuts], device=self.device)
        offset = torch.arange(int(size.sum()), device=self.device) - (size.cumsum(0) - size).repeat_interleave(size)
        return begin.repeat_interleave(size) + offset

    def _tiles(self, segments: Sequence[_Segment], whole: bool) -> tuple[Tile, ...]:
        """Tiles of segments of similar length. whole: every token asks; else only those from ``needed`` on."""

        def asked(s: _Segment) -> int:
            return s.size if whole else s.size - s.needed

        out: list[Tile] = []
        part: list[_Segment] = []
        for s in sorted(segments, key=lambda s: (s.before > 0, asked(s), s.before)):
            if part and ((s.before > 0) != (part[0].before > 0) or asked(s) > _WIDER * asked(part[0]) + _SLACK):
                out.append(self._tile(part, whole))
                part = []
            part.append(s)
        return (*out, self._tile(part, whole))

    def _tile(self, part: Sequence[_Segment], whole: bool) -> Tile:
        start, size, trunk, before, needed = (
            torch.tensor(x, device=self.device)[:, None]
            for x in zip(*((s.start, s.size, s.trunk, s.before, s.needed) for s in part), strict=True)
        )
        first = torch.zeros_like(needed) if whole else needed
        asked = size - first
        wide = torch.arange(int(asked.max()), device=self.device)
        real = wide < asked
        queries = torch.where(real, start + first + wide, start)
        deep = torch.arange(int((before + size).max()), device=self.device)
        keys = torch.where(deep < before, trunk + deep, start + (deep - before))
        keys = torch.where(deep < before + size, keys, start)
        same = whole and not bool(before.any())
        return Tile(queries, real, keys, None if same else (before + first).squeeze(1))


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
