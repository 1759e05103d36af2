"""Small heads on frozen vectors, K ensemble members as one batched module (a shared-backbone ensemble)."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from guerdon.batch import Seed
from guerdon.errors import GuerdonError


class LinearHead(nn.Module):
    """K linear scores of a vector: forward [N,D] -> [N,K].

    weight [K,D]; no bias, because Bradley–Terry does not see one. init 0.0 gives zeros (a convex fit needs no
    randomness); otherwise the standard deviation is ``init``/√D, each member from its own child of ``seed``.
    """

    def __init__(self, dimension: int, members: int = 1, *, init: float = 0.0, seed: Seed | None = None) -> None:
        super().__init__()
        self.weight = nn.Parameter(_draw((dimension,), members, init / math.sqrt(dimension), seed, "weight"))

    @property
    def members(self) -> int:
        """K."""
        return len(self.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Scores [N,K] of vectors [N,D]; float32 whatever the backbone's dtype."""
        return x.float() @ self.weight.T

    def settings(self) -> dict[str, Any]:
        """What ``head_from`` needs to build an equal head."""
        return {"kind": "linear", "dimension": self.weight.shape[1], "members": self.members}


class MLPHead(nn.Module):
    """K one-hidden-layer networks (GELU) evaluated as one batched product: forward [N,D] -> [N,K]."""

    def __init__(self, dimension: int, hidden: int = 64, members: int = 1, *, seed: Seed | None = None) -> None:
        super().__init__()
        self.inner = nn.Parameter(_draw((dimension, hidden), members, 1 / math.sqrt(dimension), seed, "inner"))
        self.shift = nn.Parameter(torch.zeros(members, 1, hidden))
        self.outer = nn.Parameter(_draw((hidden, 1), members, 1 / math.sqrt(hidden), seed, "outer"))

    @property
    def members(self) -> int:
        """K."""
        return len(self.inner)

    def forward(self, x: Tensor) -> Tensor:
        """Scores [N,K] of vectors [N,D]."""
        batch = x.float().expand(self.members, *x.shape)
        hidden = nn.functional.gelu(torch.baddbmm(self.shift, batch, self.inner))
        return torch.bmm(hidden, self.outer).squeeze(-1).T

    def settings(self) -> dict[str, Any]:
        """What ``head_from`` needs to build an equal head."""
        return {
            "kind": "mlp",
            "dimension": self.inner.shape[1],
            "hidden": self.inner.shape[2],
            "members": self.members,
        }


def head_from(settings: dict[str, Any]) -> LinearHead | MLPHead:
    """The head that ``settings()`` described, with fresh weights. Raises GuerdonError on an unknown kind."""
    kind = settings.get("kind")
    if kind == "linear":
        return LinearHead(settings["dimension"], settings["members"])
    if kind == "mlp":
        return MLPHead(settings["dimension"], settings["hidden"], settings["members"])
    raise GuerdonError(f"A head of kind 'linear' or 'mlp' was expected, but {kind!r} came.")


def _draw(shape: tuple[int, ...], members: int, scale: float, seed: Seed | None, name: str) -> Tensor:
    root = seed or Seed(0)
    return torch.stack(
        [torch.randn(shape, generator=root.child("head", name, k).torch()) * scale for k in range(members)]
    )
