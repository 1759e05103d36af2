"""Is the reward any good, and is the policy hacking it: pure functions from data and scores to one frozen report each.

Belongs here: audits of preference data, evaluation of scorers, gold-against-proxy curves, the intervals they need.
Does not belong here: training, sampling, drawing (``report``), comparing methods over seeds (``lab``).
"""

from guerdon.audit.agreement import krippendorff_alpha
from guerdon.audit.intervals import Interval, bootstrap, wilson
from guerdon.audit.length import LengthBaseline, LengthBias, length_baseline, length_bias, length_differences
from guerdon.audit.overoptimisation import Onset, area_under_gold, at_equal_kl, common_kl, onset, smooth
from guerdon.audit.preferences import Agreement, PreferenceAudit, audit_preferences
from guerdon.audit.reward_model import (
    Correlation,
    ReliabilityBin,
    RewardModelReport,
    correlation,
    evaluate_reward_model,
)

__all__ = [
    "Agreement",
    "Correlation",
    "Interval",
    "LengthBaseline",
    "LengthBias",
    "Onset",
    "PreferenceAudit",
    "ReliabilityBin",
    "RewardModelReport",
    "area_under_gold",
    "at_equal_kl",
    "audit_preferences",
    "bootstrap",
    "common_kl",
    "correlation",
    "evaluate_reward_model",
    "krippendorff_alpha",
    "length_baseline",
    "length_bias",
    "length_differences",
    "onset",
    "smooth",
    "wilson",
]
