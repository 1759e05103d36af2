"""A round's rows: what the policy draws, and what other snapshots draw beside it."""

from dataclasses import replace

import torch
from torch import Tensor

from guerdon.batch import Samples, Seed
from guerdon.batch.joined import joined
from guerdon.training.recipe import Recipe
from guerdon.training.sources import Draw
from guerdon.worlds.interface import Sampling

DRAWN_BY = "drawn_by"
"""The column that says which snapshot drew a row, where ``Recipe.beside`` makes several draw."""


def drawn(recipe: Recipe, draw: Draw, seed: Seed) -> Samples:
    """``per_start`` rows a start by the sampling's own snapshot, then those of ``Recipe.beside``, each with the draw's
    columns."""
    samples = _by(recipe, draw, recipe.sampling, recipe.per_start, seed.child("sample"))
    for name, count in recipe.beside.items():
        more = _by(recipe, draw, replace(recipe.sampling, snapshot=name), count, seed.child("beside", name))
        samples = joined([samples, more])
    return samples


def _by(recipe: Recipe, draw: Draw, sampling: Sampling, per_start: int, seed: Seed) -> Samples:
    samples = recipe.world.sample(recipe.snapshots, draw.starts, per_start, sampling, seed, recipe.hooks)
    rows = len(samples) // max(1, len(draw.starts))  # worlds of several actors give a row an actor
    columns = {k: [v for v in x for _ in range(rows)] for k, x in draw.columns.items()}
    who = {DRAWN_BY: [sampling.snapshot] * len(samples)} if recipe.beside else {}
    return samples.with_columns(**{**columns, **who})


def drawn_beside(recipe: Recipe, samples: Samples) -> dict[str, Tensor]:
    """Row numbers of the snapshots in ``Recipe.beside``, by name."""
    who = samples.columns.get(DRAWN_BY, ())
    return {k: torch.tensor([i for i, w in enumerate(who) if w == k], dtype=torch.int64) for k in recipe.beside}


def own_rows(recipe: Recipe, samples: Samples) -> Tensor | None:
    """Row numbers of what the sampling's own snapshot drew, None for all: what is measured of a round is measured on
    these."""
    who = samples.columns.get(DRAWN_BY)
    if not recipe.beside or who is None:
        return None
    return torch.tensor([i for i, w in enumerate(who) if w not in recipe.beside], dtype=torch.int64)
