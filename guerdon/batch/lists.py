"""Rows that belong together in lists: responses rated beside each other, or rows that each have a role."""

from dataclasses import dataclass

import torch
from torch import Tensor

from guerdon.batch import checks
from guerdon.errors import GuerdonError


@dataclass(frozen=True)
class Lists:
    """G lists of at most K rows of a batch.

    rows: int64 [G,K] row numbers, −1 where a list is shorter. value: float [G,K], how good each row is (higher is
    better; anything may stand beside −1), or None where columns are roles (a pair and its rewritings). weight: float
    [G] or None (1). A row may stand in several lists.
    """

    rows: Tensor
    value: Tensor | None = None
    weight: Tensor | None = None

    def __post_init__(self) -> None:
        checks.shape("Lists", "rows", self.rows, None, None)
        checks.dtype("Lists", "rows", self.rows, torch.int64)
        if bool((self.rows < -1).any()):
            raise GuerdonError("Lists.rows must hold row numbers, or -1 where a list is shorter.")
        for name, shape in (("value", tuple(self.rows.shape)), ("weight", (len(self.rows),))):
            x = getattr(self, name)
            if x is not None:
                checks.shape("Lists", name, x, *shape)
                checks.dtype("Lists", name, x, *checks.FLOATS)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def mask(self) -> Tensor:
        """bool [G,K]: where a list has a row."""
        return self.rows >= 0

    def values(self) -> Tensor:
        """value [G,K], 0 where there is no row. Raises GuerdonError where none is stored."""
        if self.value is None:
            raise GuerdonError("These lists carry no values, but the objective ranks their rows by them.")
        return torch.where(self.mask, self.value, 0.0)

    def weights(self) -> Tensor:
        """Weight [G], 1 where none is stored."""
        return torch.ones(len(self), device=self.rows.device) if self.weight is None else self.weight

    def ranking(self) -> Tensor:
        """int64 [G,K]: columns from best to worst, absent ones last; of equal values the earlier column first."""
        value = torch.where(self.mask, self.values(), -torch.inf)
        return torch.argsort(value, dim=-1, descending=True, stable=True)

    def sorted(self) -> "Lists":
        """The same lists, best row first."""
        order = self.ranking()
        return Lists(self.rows.gather(-1, order), self.values().gather(-1, order), self.weight)

    def take(self, renumber: Tensor) -> "Lists":
        """Keep the lists all of whose rows survive; ``renumber`` [N] gives each row's new number, −1 where it is
        dropped. Raises GuerdonError where a list would be torn apart: its rows belong to one block (see Batch.block).
        """
        new = torch.where(self.mask, renumber[self.rows.clamp(min=0)], -1)
        lost = self.mask & (new < 0)
        torn = lost.any(-1) & (new >= 0).any(-1)
        if bool(torn.any()):
            raise GuerdonError(
                f"Lists: list {int(torn.nonzero()[0])} would lose some of its rows; split along Batch.block."
            )
        return self.at((new >= 0).any(-1), new)

    def at(self, keep: Tensor | slice, rows: Tensor | None = None) -> "Lists":
        """The lists that ``keep`` (bool [G], numbers or a slice) names, with other ``rows`` [G,K] if given."""
        rows = self.rows if rows is None else rows
        value, weight = (None if x is None else x[keep] for x in (self.value, self.weight))
        return Lists(rows[keep], value, weight)

    def to(self, device: torch.device) -> "Lists":
        """The same lists on another device."""
        value, weight = (None if x is None else x.to(device) for x in (self.value, self.weight))
        return Lists(self.rows.to(device), value, weight)
