"""Which rows are compared, and which units share a statistic."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from guerdon.batch import checks
from guerdon.errors import GuerdonError


@dataclass(frozen=True)
class Pairs:
    """P comparisons between rows of a batch.

    winner, loser: int64 [P] row numbers. preferred: [P] = P(winner ≻ loser), 1 when hard, ½ a tie. margin: [P] or None
    (a strength in the reward's units). weight: [P] or None (1). A row may stand in several pairs, on either side.
    """

    winner: Tensor
    loser: Tensor
    preferred: Tensor | None = None
    margin: Tensor | None = None
    weight: Tensor | None = None

    def __post_init__(self) -> None:
        checks.shape("Pairs", "winner", self.winner, None)
        p = len(self.winner)
        checks.shape("Pairs", "loser", self.loser, p)
        checks.indices("Pairs", "winner", self.winner, None)
        checks.indices("Pairs", "loser", self.loser, None)
        for name in ("preferred", "margin", "weight"):
            x = getattr(self, name)
            if x is not None:
                checks.shape("Pairs", name, x, p)
                checks.dtype("Pairs", name, x, *checks.FLOATS)
        if self.preferred is not None and p and not bool(((self.preferred >= 0) & (self.preferred <= 1)).all()):
            raise GuerdonError("Pairs.preferred must hold probabilities in [0, 1].")

    def __len__(self) -> int:
        return len(self.winner)

    def rows(self, sign: int) -> Tensor:
        """Row numbers [P] of one side: winners for +1, losers for −1."""
        return self.winner if sign > 0 else self.loser

    def probability(self) -> Tensor:
        """P(winner ≻ loser) [P], 1 where none is stored."""
        return torch.ones(len(self), device=self.winner.device) if self.preferred is None else self.preferred

    def weights(self) -> Tensor:
        """Weight [P], 1 where none is stored."""
        return torch.ones(len(self), device=self.winner.device) if self.weight is None else self.weight

    def margins(self) -> Tensor:
        """Margin [P], 0 where none is stored."""
        return torch.zeros(len(self), device=self.winner.device) if self.margin is None else self.margin

    def take(self, renumber: Tensor) -> "Pairs":
        """Keep the pairs both of whose rows survive; ``renumber`` [N] gives each row's new number, −1 where it is
        dropped.

        Raises GuerdonError where a pair would be torn apart: rows of one pair belong to one block (see Batch.block).
        """
        winner, loser = renumber[self.winner], renumber[self.loser]
        torn = (winner < 0) != (loser < 0)
        if bool(torn.any()):
            raise GuerdonError(
                f"Pairs: pair {int(torn.nonzero()[0])} would lose one of its two rows; split along Batch.block."
            )
        keep = winner >= 0

        def kept(x: Tensor | None) -> Tensor | None:
            return None if x is None else x[keep]

        return Pairs(winner[keep], loser[keep], kept(self.preferred), kept(self.margin), kept(self.weight))


@dataclass(frozen=True)
class Partition:
    """Which units share a statistic: ids int64, −1 for units that belong to none.

    Units are rows (ids [N]) or steps (ids [N,T]; a span's unit is its last step, so ids stand there and −1 elsewhere).
    Groups are ragged: nothing is reshaped, so uneven groups are never averaged over the whole batch.
    """

    ids: Tensor

    def __post_init__(self) -> None:
        if self.ids.ndim not in (1, 2):
            raise GuerdonError(f"Partition.ids must have shape [N] or [N,T], but {list(self.ids.shape)} came.")
        checks.dtype("Partition", "ids", self.ids, torch.int64)

    @staticmethod
    def of(keys: Sequence[Hashable]) -> "Partition":
        """Rows with equal keys share a group; groups are numbered in order of first appearance. None means no group."""
        numbers: dict[Hashable, int] = {}
        return Partition(
            torch.tensor([-1 if k is None else numbers.setdefault(k, len(numbers)) for k in keys], dtype=torch.int64)
        )

    @staticmethod
    def whole(n: int) -> "Partition":
        """One group of all ``n`` rows."""
        return Partition(torch.zeros(n, dtype=torch.int64))

    def count(self) -> int:
        """The number of groups (largest id + 1; 0 for none)."""
        return int(self.ids.max()) + 1 if self.ids.numel() else 0

    def take(self, rows: Tensor) -> "Partition":
        """The same groups restricted to these rows [M]."""
        return Partition(self.ids[rows])
