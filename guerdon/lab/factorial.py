"""Factorial studies: every combination of a few choices, and how much each choice matters by itself."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from guerdon.errors import GuerdonError

Levels = Mapping[str, Sequence[Any]]
Cell = Mapping[str, Any]


@dataclass(frozen=True)
class MainEffects:
    """mean: over the whole design. effects: factor -> level -> how far that level lies from the mean, summing to 0
    over levels. residual: root mean square of what main effects leave unexplained (interactions, noise)."""

    mean: float
    effects: dict[str, dict[Any, float]]
    residual: float

    def size(self, factor: str) -> float:
        """Largest minus smallest effect of a factor's levels, for two levels the absolute difference between them."""
        return max(self.effects[factor].values()) - min(self.effects[factor].values())

    def order(self) -> tuple[str, ...]:
        """Factors from the one that matters most; equal ones as they came."""
        return tuple(sorted(self.effects, key=self.size, reverse=True))


def cells(factors: Levels) -> list[dict[str, Any]]:
    """Every combination of one level a factor, the last factor fastest."""
    return [dict(zip(factors, combination, strict=True)) for combination in itertools.product(*factors.values())]


def factorial(factors: Levels, run: Callable[[Cell], float]) -> MainEffects:
    """Run every cell once, all else equal, and regress what it gave on the factors."""
    design = cells(factors)
    return main_effects(factors, design, [run(cell) for cell in design])


def main_effects(factors: Levels, design: Sequence[Cell], values: Sequence[float]) -> MainEffects:
    """Main effects by least squares on sum-to-zero columns; in a full design these are differences of marginal means.

    Cells may be missing or repeated as long as the columns stay independent. Raises GuerdonError otherwise, and for a
    factor with fewer than two levels.
    """
    for name, levels in factors.items():
        if len(set(levels)) < 2:
            raise GuerdonError(f"The factor {name!r} needs at least two levels, but {list(levels)} came.")
    if len(design) != len(values):
        raise GuerdonError(f"main_effects needs a value a cell, but {len(design)} cells and {len(values)} values came.")
    x = np.array(
        [[1.0, *(c for name, levels in factors.items() for c in _coded(cell[name], levels))] for cell in design]
    )
    y = np.asarray(values, dtype=np.float64)
    if np.linalg.matrix_rank(x) < x.shape[1]:
        raise GuerdonError("These cells do not tell the factors apart; run every combination of their levels.")
    weight = np.linalg.lstsq(x, y, rcond=None)[0]
    effects: dict[str, dict[Any, float]] = {}
    at = 1
    for name, levels in factors.items():
        own = weight[at : at + len(levels) - 1]
        effects[name] = dict(zip(levels, [*map(float, own), -float(own.sum())], strict=True))
        at += len(levels) - 1
    return MainEffects(float(weight[0]), effects, float(np.sqrt(((y - x @ weight) ** 2).mean())))


def _coded(level: Any, levels: Sequence[Any]) -> list[float]:
    """Sum-to-zero columns: 1 for a level's own column, −1 in all of them for the last level."""
    at = list(levels).index(level)
    last = len(levels) - 1
    return [-1.0 if at == last else float(at == k) for k in range(last)]
