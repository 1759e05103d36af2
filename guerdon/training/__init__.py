"""Training: one recipe, one loop, and what goes on beside it: sources, companions, checkpoints, metrics, fitted reward
models.

Belongs here: ``run`` and its parts, fitting reward models. Does not belong here: losses (``objectives``), advantages,
sampling and re-scoring (``worlds``), anything that knows one method by name (``catalogue``), apart from the recipes the
command line offers.
"""

from guerdon.training.builds import best_worst, keep_best, minibatches, whole
from guerdon.training.checkpoints import latest, load, save
from guerdon.training.companions import BestKeeper, Companion, Dual, KLController, Multipliers, ValueHead
from guerdon.training.distributed import joined
from guerdon.training.estimators import by_channel, by_row, generalised, greedy_baseline, row_reward, with_advantage
from guerdon.training.metrics import JsonLines, Progress, Trackers, Writer
from guerdon.training.optim import Optim
from guerdon.training.recipe import Build, Estimator, Every, Micro, Recipe, Rollout, Round, plain
from guerdon.training.run import RunResult, run
from guerdon.training.sources import Draw, Prompts, Recorded, Source
from guerdon.training.unpaired import Unpaired, mismatched

__all__ = [
    "BestKeeper",
    "Build",
    "Companion",
    "Draw",
    "Dual",
    "Estimator",
    "Every",
    "JsonLines",
    "KLController",
    "Micro",
    "Multipliers",
    "Optim",
    "Progress",
    "Prompts",
    "Recipe",
    "Recorded",
    "Rollout",
    "Round",
    "RunResult",
    "Source",
    "Trackers",
    "Unpaired",
    "ValueHead",
    "Writer",
    "best_worst",
    "by_channel",
    "by_row",
    "generalised",
    "greedy_baseline",
    "joined",
    "keep_best",
    "latest",
    "load",
    "minibatches",
    "mismatched",
    "plain",
    "row_reward",
    "run",
    "save",
    "whole",
    "with_advantage",
]
