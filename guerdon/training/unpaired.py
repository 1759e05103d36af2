"""Labelled single rows as a source: every draw brings the mismatched rows of its own labelled ones."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from guerdon.batch import Samples, Seed
from guerdon.errors import DataError, GuerdonError
from guerdon.training.sources import Draw, positions


def mismatched(prompts: Sequence[Hashable]) -> Tensor:
    """int64 [N]: for every row the next row, cyclically, of *another* prompt; its response beside this row's prompt is
    a mismatched pair (KTO's z₀).

    No row gets a response to its own prompt, whatever N and however often a prompt comes. Where no prompt repeats, each
    response is used once. Raises DataError where all rows have one prompt.
    """
    n = len(prompts)
    following = [-1] * (2 * n)
    for i in range(2 * n - 2, -1, -1):
        following[i] = i + 1 if prompts[(i + 1) % n] != prompts[i % n] else following[i + 1]
    if n == 0 or -1 in following[:n]:
        raise DataError("Mismatched rows need responses to at least two prompts, but all rows here have one prompt.")
    return torch.tensor([j % n for j in following[:n]])


@dataclass(frozen=True)
class Unpaired:
    """Recorded rows with a label each, and beside each a mismatched one; an item is both of them.

    samples: 2N rows, the N labelled ones first, then in the same order each prompt with the response that
    ``mismatched`` names::

        other = mismatched(prompts).tolist()
        samples = world.recorded([*prompts, *prompts], [*responses, *(responses[j] for j in other)])

    desirable: bool [N]. A draw of ``per_round`` items has 2 · per_round rows, a mismatched one behind its labelled one,
    and names them 'desirable', 'undesirable' and 'mismatched'. Orders and epochs as in ``Recorded``. still: rows that
    an objective reads for sums over the batch, which carry no gradient.
    """

    samples: Samples
    desirable: Tensor
    per_round: int
    seed: Seed | None = field(default_factory=lambda: Seed(0).child("records"))
    gives: tuple[str, ...] = ("rows.desirable", "rows.undesirable", "rows.mismatched")
    recorded: bool = True
    still: tuple[str, ...] = ("rows.mismatched",)

    def __post_init__(self) -> None:
        if self.desirable.ndim != 1 or self.desirable.dtype != torch.bool or len(self.desirable) == 0:
            raise DataError(
                "Unpaired.desirable must be bool [N] with N ≥ 1, but "
                f"{self.desirable.dtype} {list(self.desirable.shape)} came."
            )
        if len(self.samples) != 2 * len(self.desirable):
            raise DataError(
                f"Unpaired.samples must hold {2 * len(self.desirable)} rows, the labelled ones and as many mismatched "
                f"ones behind them, but holds {len(self.samples)}."
            )
        if self.per_round < 1:
            raise GuerdonError(f"Unpaired.per_round must be at least 1, but {self.per_round} came.")

    def __len__(self) -> int:
        return len(self.desirable)

    def draw(self, position: int) -> Draw:
        """``per_round`` labelled rows, each followed by its mismatched one."""
        at = torch.tensor(positions(self.seed, len(self), position, self.per_round))
        ids = torch.stack([at, at + len(self)], 1).reshape(-1)
        label, row = self.desirable[at], 2 * torch.arange(len(at))
        rows = {"desirable": row[label], "undesirable": row[~label], "mismatched": row + 1}
        return Draw(position + len(at), samples=self.samples.take(ids), rows=rows, ids=ids)
