"""Is the reward any good, and is the policy hacking it: pure functions from data and scores to one frozen report each.

Belongs here: audits of preference data, evaluation of scorers, gold-against-proxy curves, the intervals they need.
Does not belong here: training, sampling, drawing (``report``), comparing methods over seeds (``lab``).
"""

from guerdon.audit.agreement import AnnotatorAgreement, annotator_agreement, cohen_kappa, krippendorff_alpha
from guerdon.audit.coverage import Cluster, Coverage, prompt_coverage
from guerdon.audit.cycles import Cycle, Cycles, preference_cycles
from guerdon.audit.direct_overoptimisation import Hump, LengthLaw, fit_hump, length_law
from guerdon.audit.displacement import Displacement, displacement
from guerdon.audit.features import Embed
from guerdon.audit.format_bias import FormatBias, FormatEffect, format_bias
from guerdon.audit.headline import headline
from guerdon.audit.intervals import Interval, bootstrap, bootstrap_groups, wilson
from guerdon.audit.judgements import Agreement, ScoreAgreement
from guerdon.audit.label_noise import LabelNoise, Suspect, label_noise
from guerdon.audit.leakage import Leak, leakage
from guerdon.audit.length import LengthBaseline, LengthBias, length_baseline, length_bias, length_differences
from guerdon.audit.markers import Marker, markers
from guerdon.audit.near_duplicates import DuplicateGroup, NearDuplicates, duplicate_groups, near_duplicates
from guerdon.audit.overoptimisation import Onset, area_under_gold, at_equal_kl, common_kl, onset, smooth
from guerdon.audit.pair_gradients import (
    ShiftTerms,
    difference_only,
    pair_gradients,
    probability_gradients,
    shift_terms,
)
from guerdon.audit.pairs import DecidedPairs, decided_pairs
from guerdon.audit.position import Position, SideBias, binomial_p, position_bias
from guerdon.audit.preferences import PARTS, PreferenceAudit, audit_preferences
from guerdon.audit.ranking_report import Rankings, rankings
from guerdon.audit.rankings import PairLogps, alignment_gap, flip_threshold, idealised, pair_logps, ranking_accuracy
from guerdon.audit.refusals import AttackSuccess, attack_success
from guerdon.audit.reward_comparison import RewardComparison, ScoredPairs, compare_rewards
from guerdon.audit.reward_model import (
    Correlation,
    ReliabilityBin,
    RewardModelReport,
    correlation,
    evaluate_reward_model,
)
from guerdon.audit.separability import Separability, separability

__all__ = [
    "PARTS",
    "Agreement",
    "AnnotatorAgreement",
    "AttackSuccess",
    "Cluster",
    "Correlation",
    "Coverage",
    "Cycle",
    "Cycles",
    "DecidedPairs",
    "Displacement",
    "DuplicateGroup",
    "Embed",
    "FormatBias",
    "FormatEffect",
    "Hump",
    "Interval",
    "LabelNoise",
    "Leak",
    "LengthBaseline",
    "LengthBias",
    "LengthLaw",
    "Marker",
    "NearDuplicates",
    "Onset",
    "PairLogps",
    "Position",
    "PreferenceAudit",
    "Rankings",
    "ReliabilityBin",
    "RewardComparison",
    "RewardModelReport",
    "ScoreAgreement",
    "ScoredPairs",
    "Separability",
    "ShiftTerms",
    "SideBias",
    "Suspect",
    "alignment_gap",
    "annotator_agreement",
    "area_under_gold",
    "at_equal_kl",
    "attack_success",
    "audit_preferences",
    "binomial_p",
    "bootstrap",
    "bootstrap_groups",
    "cohen_kappa",
    "common_kl",
    "compare_rewards",
    "correlation",
    "decided_pairs",
    "difference_only",
    "displacement",
    "duplicate_groups",
    "evaluate_reward_model",
    "fit_hump",
    "flip_threshold",
    "format_bias",
    "headline",
    "idealised",
    "krippendorff_alpha",
    "label_noise",
    "leakage",
    "length_baseline",
    "length_bias",
    "length_differences",
    "length_law",
    "markers",
    "near_duplicates",
    "onset",
    "pair_gradients",
    "pair_logps",
    "position_bias",
    "preference_cycles",
    "probability_gradients",
    "prompt_coverage",
    "ranking_accuracy",
    "rankings",
    "separability",
    "shift_terms",
    "smooth",
    "wilson",
]
