"""What the entries on duels measure: exploitability of a policy that learns from duels of its own samples."""

from collections.abc import Callable, Mapping

from guerdon.batch import Seed
from guerdon.lab import duels
from guerdon.training.recipe import Recipe
from guerdon.training.run import run

Arm = Callable[[duels.Contest, tuple[duels.Averaging]], Recipe]
"""From a testbed and what keeps the average policy to one run."""


def played(arm: Arm, seed: int, responses: int = 9, smoke: bool = False) -> Mapping[str, float]:
    """One run of an arm: 'exploitability' of its average policy, that of the 'last' one and of the 'start'; lower is
    better. A smoke run has few prompts and rounds."""
    key = Seed(seed).child("catalogue")
    bed = duels.contest(key, 4, responses) if smoke else duels.contest(key, responses=responses)
    average = duels.Averaging()
    recipe = arm(bed, (average,))
    run(recipe.with_(rounds=4) if smoke else recipe)
    return duels.measured(bed, recipe, average)
