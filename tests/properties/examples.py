"""Generic inputs shared by the cases: ragged rows, ragged groups, something masked, no accidental ties."""

from __future__ import annotations

import torch
from torch import Tensor

ROWS, STEPS = 10, 5
MASK = torch.tensor(
    [
        [1, 1, 1, 1, 0],
        [0, 1, 1, 0, 0],
        [1, 1, 1, 1, 1],
        [0, 1, 0, 1, 1],
        [0, 0, 0, 0, 0],
        [1, 0, 0, 0, 0],
        [1, 1, 1, 0, 0],
        [1, 1, 0, 1, 0],
        [0, 1, 1, 1, 1],
        [1, 1, 1, 1, 0],
    ],
    dtype=torch.bool,
)
IDS = torch.tensor([0, 1, 0, 2, 1, 0, -1, 0, 1, 2])
EVERY = torch.tensor([0, 1, 0, 2, 1, 0, 2, 0, 1, 2])  # everyone in a group, each of several members
OK = torch.tensor([True] * 5 + [False] + [True] * 4)
SPANS = torch.tensor(
    [
        [0, 0, 1, 1, -1],
        [-1, 3, 3, -1, -1],
        [0, 1, 1, 2, 2],
        [-1, 0, -1, 0, 1],
        [-1, -1, -1, -1, -1],
        [0, -1, -1, -1, -1],
        [2, 2, 0, -1, -1],
        [0, 0, -1, 1, -1],
        [-1, 4, 4, 5, 5],
        [1, 1, 1, 1, -1],
    ]
)


def real(*shape: int, seed: int = 0) -> Tensor:
    """Standard normal float32 numbers."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def unit(*shape: int, seed: int = 0) -> Tensor:
    """Uniform float32 numbers in (0.05, 0.95)."""
    return 0.05 + 0.9 * torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def log_probs(*shape: int, seed: int = 0) -> Tensor:
    """Log-probabilities of categorical distributions over the last dimension."""
    return real(*shape, seed=seed).log_softmax(-1)
