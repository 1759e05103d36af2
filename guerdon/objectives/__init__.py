"""Pure losses as terms over a Batch: each has its own needs, coupled statistics, units and global denominator.

Belongs here: what is differentiated (pairwise, listwise, unpaired, policy, regression, value losses) and how units are
reduced. Does not belong here: forward passes (``worlds``), likelihoods of comparisons themselves (``preferences``),
advantages, loops.
"""

from guerdon.objectives.anchored import apo_down, apo_zero, cal_dpo, dpop, nca, of_sides
from guerdon.objectives.aot import aot
from guerdon.objectives.bco import bco, bco_pair
from guerdon.objectives.brain import brain, effective_samples, matching_weights
from guerdon.objectives.cream import cream
from guerdon.objectives.degree import degree_loss, spo_degree
from guerdon.objectives.divergent import chi_po, f_dpo
from guerdon.objectives.dynamic import beta_dpo
from guerdon.objectives.expectation import expectation, sft
from guerdon.objectives.free import alphapo, cpo, total_logprob
from guerdon.objectives.gpo import gpo, score_regression
from guerdon.objectives.lengths import r_dpo, sampo
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
from guerdon.objectives.modpo import column, modpo
from guerdon.objectives.modulated import dpo_gamma, modulated_log_ratio
from guerdon.objectives.odds import asft, orpo
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
from guerdon.objectives.ranked import dpo_ranking, lambda_loss, lipo, softmax, tpo_tree
from guerdon.objectives.reductions import Reduction, sequence_mean, sequence_sum, token_mean
from guerdon.objectives.rso import rso
from guerdon.objectives.scores import Score, head, log_ratio, mean_log_ratio, mean_logprob, scaled, weighted_log_ratio
from guerdon.objectives.selfplay import dno, sppo, sppo_hard, sppo_single
from guerdon.objectives.shift import dpo_shift, flex_dpo, strengths
from guerdon.objectives.srpo import srpo
from guerdon.objectives.strength import odpo
from guerdon.objectives.terms import Loss, Objective, Term
from guerdon.objectives.token_kl import tdpo, tdpo1
from guerdon.objectives.tokens import desensitised_log_ratio, guided_log_ratio, ld_dpo, tgdpo
from guerdon.objectives.triples import second_against_worst, triple_po, triple_po_l
from guerdon.objectives.unpaired import kto
from guerdon.objectives.value import value_loss
from guerdon.objectives.weighted import wpo

__all__ = [
    "Link",
    "ListLoss",
    "Loss",
    "Objective",
    "Reduction",
    "Score",
    "Term",
    "alphapo",
    "aot",
    "apo_down",
    "apo_zero",
    "asft",
    "bco",
    "bco_pair",
    "beta_dpo",
    "bradley_terry_loss",
    "brain",
    "cal_dpo",
    "chi_po",
    "clipped",
    "column",
    "cpo",
    "cream",
    "degree_loss",
    "desensitised_log_ratio",
    "discopop",
    "dno",
    "dpo",
    "dpo_gamma",
    "dpo_ranking",
    "dpo_shift",
    "dpop",
    "effective_samples",
    "entropy_bonus",
    "exo",
    "exp_dpo",
    "expectation",
    "f_dpo",
    "flex_dpo",
    "gpo",
    "guided_log_ratio",
    "head",
    "hinge",
    "hinge_dpo",
    "ipo_mean",
    "ipo_sum",
    "kl_penalty",
    "kto",
    "lambda_loss",
    "ld_dpo",
    "lipo",
    "listwise",
    "log_ratio",
    "logistic",
    "matching_weights",
    "mean_log_ratio",
    "mean_logprob",
    "modpo",
    "modulated_log_ratio",
    "nca",
    "odpo",
    "of_difference",
    "of_sides",
    "orpo",
    "pairwise",
    "plackett_luce",
    "r_dpo",
    "reinforce",
    "relative_expectation",
    "robust_dpo",
    "rpo",
    "rso",
    "sampo",
    "scaled",
    "score_regression",
    "second_against_worst",
    "selm",
    "sequence_mean",
    "sequence_sum",
    "sft",
    "sft_dpo",
    "simpo",
    "slic",
    "softmax",
    "spo_degree",
    "sppo",
    "sppo_hard",
    "sppo_single",
    "squared",
    "squared_hinge_dpo",
    "srpo",
    "strengths",
    "tdpo",
    "tdpo1",
    "tgdpo",
    "token_mean",
    "total_logprob",
    "tpo_tree",
    "triple_po",
    "triple_po_l",
    "value_loss",
    "vpo",
    "weighted_log_ratio",
    "wpo",
    "xpo",
]
