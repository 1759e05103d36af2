"""Likelihoods of comparisons, once for policies and for reward models.

Belongs here: P(comparison | scores) as negative log-likelihoods on plain tensors: pairs, ties, rankings, ratings;
and what of a trajectory segment is compared (``segments``). Does not belong here: what other scores are (objectives,
rewards) or how losses are averaged (objectives).
"""

from guerdon.preferences.bradley_terry import (
    bradley_terry,
    centring_penalty,
    magnitude_penalty,
    preference_probability,
)
from guerdon.preferences.general import general_preference, mean_skew_score, skew_score
from guerdon.preferences.plackett_luce import plackett_luce
from guerdon.preferences.regression import margin_regression, regression
from guerdon.preferences.segments import partial_return, regret, smooth_value
from guerdon.preferences.ties import davidson, davidson_log_probs, outcomes, rao_kupper, rao_kupper_log_probs

__all__ = [
    "bradley_terry",
    "centring_penalty",
    "davidson",
    "davidson_log_probs",
    "general_preference",
    "magnitude_penalty",
    "margin_regression",
    "mean_skew_score",
    "outcomes",
    "partial_return",
    "plackett_luce",
    "preference_probability",
    "rao_kupper",
    "rao_kupper_log_probs",
    "regression",
    "regret",
    "skew_score",
    "smooth_value",
]
