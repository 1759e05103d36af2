"""Pure losses as terms over a Batch: each has its own needs, coupled statistics, units and global denominator.

Belongs here: what is differentiated (pairwise, listwise, unpaired, policy, regression, value losses) and how units are
reduced. Does not belong here: forward passes (``worlds``), likelihoods of comparisons themselves (``preferences``),
advantages, loops.
"""

from guerdon.objectives.anchored import apo_down, apo_zero, cal_dpo, dpop, nca, of_sides
from guerdon.objectives.aot import aot
from guerdon.objectives.bco import bco, bco_pair
from guerdon.objectives.expectation import expectation, sft
from guerdon.objectives.links import (
    Link,
    discopop,
    exo,
    exp_dpo,
    hinge_dpo,
    of_difference,
    robust_dpo,
    slic,
    squared_hinge_dpo,
)
from guerdon.objectives.listwise import ListLoss, listwise, plackett_luce
from guerdon.objectives.modulated import dpo_gamma, modulated_log_ratio
from guerdon.objectives.optimism import relative_expectation, rpo, selm, sft_dpo, vpo, xpo
from guerdon.objectives.pairwise import (
    bradley_terry_loss,
    dpo,
    hinge,
    ipo_mean,
    ipo_sum,
    logistic,
    pairwise,
    simpo,
    squared,
)
from guerdon.objectives.policy import clipped, entropy_bonus, kl_penalty, reinforce
from guerdon.objectives.reductions import Reduction, sequence_mean, sequence_sum, token_mean
from guerdon.objectives.scores import Score, head, log_ratio, mean_log_ratio, mean_logprob, scaled, weighted_log_ratio
from guerdon.objectives.shift import dpo_shift, flex_dpo, strengths
from guerdon.objectives.terms import Loss, Objective, Term
from guerdon.objectives.tokens import desensitised_log_ratio, guided_log_ratio, ld_dpo, tgdpo
from guerdon.objectives.unpaired import kto
from guerdon.objectives.value import value_loss

__all__ = [
    "Link",
    "ListLoss",
    "Loss",
    "Objective",
    "Reduction",
    "Score",
    "Term",
    "aot",
    "apo_down",
    "apo_zero",
    "bco",
    "bco_pair",
    "bradley_terry_loss",
    "cal_dpo",
    "clipped",
    "desensitised_log_ratio",
    "discopop",
    "dpo",
    "dpo_gamma",
    "dpo_shift",
    "dpop",
    "entropy_bonus",
    "exo",
    "exp_dpo",
    "expectation",
    "flex_dpo",
    "guided_log_ratio",
    "head",
    "hinge",
    "hinge_dpo",
    "ipo_mean",
    "ipo_sum",
    "kl_penalty",
    "kto",
    "ld_dpo",
    "listwise",
    "log_ratio",
    "logistic",
    "mean_log_ratio",
    "mean_logprob",
    "modulated_log_ratio",
    "nca",
    "of_difference",
    "of_sides",
    "pairwise",
    "plackett_luce",
    "reinforce",
    "relative_expectation",
    "robust_dpo",
    "rpo",
    "scaled",
    "selm",
    "sequence_mean",
    "sequence_sum",
    "sft",
    "sft_dpo",
    "simpo",
    "slic",
    "squared",
    "squared_hinge_dpo",
    "strengths",
    "tgdpo",
    "token_mean",
    "value_loss",
    "vpo",
    "weighted_log_ratio",
    "xpo",
]
