"""What a recipe trains, and a hash by which a checkpoint knows its recipe again."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict

from torch import nn

from guerdon.errors import GuerdonError
from guerdon.training.recipe import Recipe
from guerdon.worlds.snapshots import Actors, Snapshots


def actors(snapshots: Actors) -> Mapping[str, Snapshots]:
    """Snapshots by actor; a single actor is called 'policy'."""
    return {"policy": snapshots} if isinstance(snapshots, Snapshots) else snapshots


def trainable(recipe: Recipe) -> dict[str, nn.Parameter]:
    """Every parameter the optimiser trains, as 'actor:name' and 'module:name'. Raises GuerdonError where there is
    none."""
    owners = {**{name: s.module for name, s in actors(recipe.snapshots).items()}, **recipe.modules}
    named = {
        f"{owner}:{k}": p for owner, module in owners.items() for k, p in module.named_parameters() if p.requires_grad
    }
    if not named:
        raise GuerdonError("The policy has no parameter that requires gradient, so there is nothing to train.")
    return named


def fingerprint(recipe: Recipe) -> str:
    """A hash of what can be told of a recipe: settings, seeds, names and shapes; functions count by the names they give
    themselves.

    ``rounds`` counts only where the learning rate depends on it, so that a run at a constant rate can be made longer.
    """
    objective, source = recipe.objective_at(0), recipe.source
    told = {
        "source": [
            type(source).__name__,
            len(source),
            *(repr(getattr(source, k, None)) for k in ("seed", "per_round")),
        ],
        "objective": [[t.name, t.coefficient, *t.needs] for t in objective.terms],
        "optim": asdict(recipe.optim),
        "rounds": recipe.rounds if recipe.optim.schedule != "constant" else None,
        "seed": repr(recipe.seed),
        "reward": None if recipe.reward is None else recipe.reward.name,
        "sampling": [
            asdict(recipe.sampling),
            recipe.per_start,
            recipe.greedy,
            *([dict(recipe.beside)] if recipe.beside else []),
        ],
        "parts": [
            recipe.estimator.name,
            recipe.build.name,
            *(c.name for c in recipe.companions),
            getattr(recipe.combine, "name", None),
        ],
        "parameters": {name: list(p.shape) for name, p in trainable(recipe).items()},
        "note": recipe.note,
    }
    return hashlib.sha256(json.dumps(told, sort_keys=True, default=repr).encode()).hexdigest()
