"""All that an objective may read, and how it is cut without changing what is computed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from guerdon.batch import checks
from guerdon.batch.channels import Scores
from guerdon.batch.lists import Lists
from guerdon.batch.pairs import Pairs
from guerdon.batch.steps import Predictions, Steps
from guerdon.errors import GuerdonError, NeedsError


@dataclass(frozen=True)
class Batch:
    """N rows and everything known of them.

    steps: per-step evidence; a batch made from ``predictions`` alone reads it as steps. pairs: comparisons. rows: name
    -> int64 row numbers (anchors, calibration sets, mismatched rows; sets that belong together are aligned by
    position). advantages, returns: name -> [N,T]. scores: channels. heads: name -> [N] outputs of a scalar head (carry
    gradient). columns: a sequence or tensor of N values each. block: int64 [N]; rows of one block are never parted by a
    split (default: pairs, lists and single rows). lists: rows rated together, or rows with roles.
    """

    steps: Steps | None = None
    predictions: Predictions | None = None
    pairs: Pairs | None = None
    rows: Mapping[str, Tensor] = field(default_factory=dict)
    advantages: Mapping[str, Tensor] = field(default_factory=dict)
    returns: Mapping[str, Tensor] = field(default_factory=dict)
    scores: Scores | None = None
    heads: Mapping[str, Tensor] = field(default_factory=dict)
    columns: Mapping[str, Any] = field(default_factory=dict)
    block: Tensor | None = None
    lists: Lists | None = None

    def __post_init__(self) -> None:
        if self.steps is None and self.predictions is not None:
            object.__setattr__(self, "steps", self.predictions.as_steps())
        n = len(self)
        if self.pairs is not None:
            checks.indices("Batch", "pairs.winner", self.pairs.winner, n)
            checks.indices("Batch", "pairs.loser", self.pairs.loser, n)
        if self.lists is not None:
            checks.indices("Batch", "lists.rows", self.lists.rows[self.lists.mask], n)
        for name, x in self.rows.items():
            checks.indices("Batch", f"rows[{name!r}]", x, n)
        if self.steps is not None:
            checks.floats("Batch", "advantages", self.advantages, *self.steps.mask.shape)
            checks.floats("Batch", "returns", self.returns, *self.steps.mask.shape)
        checks.floats("Batch", "heads", self.heads, n)
        for name, x in self.columns.items():
            if len(x) != n:
                raise GuerdonError(f"Batch.columns[{name!r}] must hold {n} rows, but holds {len(x)}.")
        if self.block is not None:
            checks.shape("Batch", "block", self.block, n)

    def __len__(self) -> int:
        if self.steps is not None:
            return len(self.steps.mask)
        sized = [*self.heads.values(), *self.columns.values()]
        if sized:
            return len(sized[0])
        if self.scores is not None and len(self.scores):
            return len(next(iter(self.scores.channels.values())).value)
        raise GuerdonError("Batch is empty: give steps, predictions, heads, scores or columns.")

    @property
    def device(self) -> torch.device:
        """Where the batch's tensors live."""
        tensors = [self.steps.mask] if self.steps is not None else list(self.heads.values())
        return tensors[0].device if tensors else torch.device("cpu")

    def read(self, path: str) -> Any:
        """What stands at a path of a term's needs: 'pairs', 'rows.chosen', 'steps.logp.policy',
        'steps.stats.value:reward', 'advantages.total', 'heads.reward', 'scores.cost', 'columns.label'. Raises
        NeedsError naming the path and what is there."""
        first, *rest = path.split(".", 2) if path.startswith("steps.") else path.split(".", 1)
        here: Any = getattr(self, first, None)
        for key in rest:
            if here is None:
                break
            if isinstance(here, Mapping):
                here = here.get(key)
            elif isinstance(here, Scores):
                here = here.channels.get(key)
            else:
                here = getattr(here, key, None)
        if here is None:
            raise NeedsError(f"The objective needs {path!r}, but the batch does not have it.")
        return here

    def blocks(self) -> Tensor:
        """int64 [N]: which rows stay together. Given, or the connected components of pairs and lists."""
        if self.block is not None:
            return self.block
        block = torch.arange(len(self), device=self.device)
        first, second = self._together()
        if len(first):
            changed = True
            while changed:  # label propagation: as many rounds as the longest chain of pairs, 1-2 for disjoint pairs
                low = torch.minimum(block[first], block[second])
                new = block.scatter_reduce(0, first, low, "amin").scatter_reduce(0, second, low, "amin")
                changed = not torch.equal(new, block)
                block = new
        return block

    def _together(self) -> tuple[Tensor, Tensor]:
        """Two rows int64 [E] each that may not be parted."""
        ends = [] if self.pairs is None else [(self.pairs.winner, self.pairs.loser)]
        if self.lists is not None and len(self.lists):
            whole = torch.where(self.lists.mask, self.lists.rows, self.lists.rows.max(-1, keepdim=True).values)
            whole = whole[whole[:, 0] >= 0]
            ends.append((whole[:, :1].expand_as(whole).flatten(), whole.flatten()))
        none = torch.zeros(0, dtype=torch.int64, device=self.device)
        return torch.cat([none, *(a for a, _ in ends)]), torch.cat([none, *(b for _, b in ends)])

    def take(self, rows: Tensor) -> "Batch":
        """The rows with these numbers [M]: pairs, lists and named sets follow, renumbered; whole blocks only where
        pairs or lists are present."""
        renumber = torch.full((len(self),), -1, dtype=torch.int64, device=rows.device)
        renumber[rows] = torch.arange(len(rows), device=rows.device)
        at = rows.tolist()

        def column(x: Any) -> Any:
            return x[rows] if isinstance(x, Tensor) else [x[i] for i in at]

        return Batch(
            None if self.steps is None else self.steps.take(rows),
            None if self.predictions is None else self.predictions.take(rows),
            None if self.pairs is None else self.pairs.take(renumber),
            {k: renumber[v][renumber[v] >= 0] for k, v in self.rows.items()},
            {k: v[rows] for k, v in self.advantages.items()},
            {k: v[rows] for k, v in self.returns.items()},
            None if self.scores is None else self.scores.take(rows),
            {k: v[rows] for k, v in self.heads.items()},
            {k: column(v) for k, v in self.columns.items()},
            None if self.block is None else self.block[rows],
            None if self.lists is None else self.lists.take(renumber),
        )

    def split(self, parts: int) -> Sequence["Batch"]:
        """At most ``parts`` micro-batches along whole blocks, in row order, of about equal row counts."""
        block = self.blocks()
        _, inverse = torch.unique(block, return_inverse=True)
        order = torch.argsort(inverse, stable=True)
        sizes = torch.bincount(inverse).cumsum(0)
        share = -(-len(self) // parts)
        part_of_block = (sizes - 1) // share
        part = part_of_block[inverse[order]]
        return [self.take(order[part == p].sort().values) for p in torch.unique(part).tolist()]

    def with_steps(self, steps: Steps) -> "Batch":
        """The same batch with other per-step evidence (after a new forward pass)."""
        return replace(self, steps=steps)
