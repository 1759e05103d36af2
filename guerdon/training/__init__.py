"""Training: one recipe, one loop, and what goes on beside it: sources, companions, checkpoints, metrics, fitted reward
models.

Belongs here: ``run`` and its parts, fitting reward models. Does not belong here: losses (``objectives``), advantages,
sampling and re-scoring (``worlds``), anything that knows one method by name (``catalogue``), apart from the recipes the
command line offers.
"""

from guerdon.training.builds import best_worst, keep_best, minibatches, whole
from guerdon.training.checkpoints import latest, load, save
from guerdon.training.companions import BestKeeper, Companion, Dual, KLController, Multipliers, ValueHead
from guerdon.training.dense import rto, with_implicit_credit
from guerdon.training.distributed import joined
from guerdon.training.duels import Duels, Judge, both_orders, by_score, duels
from guerdon.training.estimators import by_channel, by_row, generalised, greedy_baseline, row_reward, with_advantage
from guerdon.training.metrics import JsonLines, Progress, Trackers, Writer
from guerdon.training.numbered import number_pairs, numbered_pairs
from guerdon.training.optim import Optim
from guerdon.training.prompt_lists import lists_of, prompt_lists
from guerdon.training.recipe import Build, Estimator, Every, Micro, Recipe, Rollout, Round, plain
from guerdon.training.run import RunResult, run
from guerdon.training.self_rewarding import (
    SelfRewardingRounds,
    consistencies,
    consistency,
    implicit_reward,
    self_labelled,
    unlabelled,
)
from guerdon.training.selfplay import Acceleration, against_peers, all_pairs, best_worst_duels, margin_pairs
from guerdon.training.sources import Draw, Prompts, Recorded, Source
from guerdon.training.unpaired import Unpaired, mismatched

__all__ = [
    "Acceleration",
    "BestKeeper",
    "Build",
    "Companion",
    "Draw",
    "Dual",
    "Duels",
    "Estimator",
    "Every",
    "JsonLines",
    "Judge",
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
    "SelfRewardingRounds",
    "Source",
    "Trackers",
    "Unpaired",
    "ValueHead",
    "Writer",
    "against_peers",
    "all_pairs",
    "best_worst",
    "best_worst_duels",
    "both_orders",
    "by_channel",
    "by_row",
    "by_score",
    "consistencies",
    "consistency",
    "duels",
    "generalised",
    "greedy_baseline",
    "implicit_reward",
    "joined",
    "keep_best",
    "latest",
    "lists_of",
    "load",
    "margin_pairs",
    "minibatches",
    "mismatched",
    "number_pairs",
    "numbered_pairs",
    "plain",
    "prompt_lists",
    "row_reward",
    "rto",
    "run",
    "save",
    "self_labelled",
    "unlabelled",
    "whole",
    "with_advantage",
    "with_implicit_credit",
]
