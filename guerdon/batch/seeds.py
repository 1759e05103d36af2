"""Seeds as keys: a draw depends on (root, path) alone, so resume, batch size, ranks and threads change nothing."""

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    import numpy


@dataclass(frozen=True)
class Seed:
    """A key from which generators are made, never a generator itself.

    ``Seed(0).child("round", 3).child("sample", 17)`` names one stream of draws; whoever holds the same root and path
    gets the same stream, in any order, on any rank. Path elements are strings or integers and are not interchangeable
    (1 is not "1").
    """

    root: int
    path: tuple[int | str, ...] = ()

    def child(self, *path: int | str) -> "Seed":
        """The key below this one at ``path``."""
        return Seed(self.root, (*self.path, *path))

    def integer(self, bits: int = 63) -> int:
        """A uniform integer in [0, 2**bits), bits <= 256."""
        text = repr((int(self.root), *self.path)).encode()
        return int.from_bytes(hashlib.sha256(text).digest(), "big") >> (256 - bits)

    def torch(self, device: str | torch.device = "cpu") -> torch.Generator:
        """A fresh torch generator seeded by this key."""
        return torch.Generator(device=device).manual_seed(self.integer())

    def numpy(self) -> "numpy.random.Generator":
        """A fresh numpy generator seeded by this key."""
        import numpy

        return numpy.random.default_rng(self.integer())
