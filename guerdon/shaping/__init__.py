"""Shaping: from a reward's channels to the signal that is learned from.

Belongs here: transforms (channel to channel, state explicit), anchors, combinations of channels, constraints, credit
along the steps, potentials, KL inside the reward.
Does not belong here: producing scores (rewards), baselines and returns (advantages), losses (objectives).
"""

from guerdon.shaping.anchored import AnchorMap, anchored_tanh, contrast, lsc, par, polynomial, sgfc
from guerdon.shaping.combine import (
    maximum,
    mean,
    mean_minus_std,
    median,
    minimum,
    product,
    uncertainty_weighted,
    weighted_sum,
)
from guerdon.shaping.credit import Credit, potential, span_terminal, terminal, uniform
from guerdon.shaping.implicit import implicit_credit
from guerdon.shaping.kl import kl_in_reward, with_terminal_reward
from guerdon.shaping.lagrangian import DualStep, dual_step, lagrangian
from guerdon.shaping.length import (
    length_residual,
    lengths_of,
    linear_length,
    linear_length_penalty,
    soft_overlong,
    soft_overlong_penalty,
)
from guerdon.shaping.minimum_norm import minimum_norm, minimum_norm_weights
from guerdon.shaping.normalise import centre, minmax, running_clip, zscore
from guerdon.shaping.pointwise import affine, clip, log_sigmoid, offset, pointwise, scale, sigmoid, tanh
from guerdon.shaping.process import clip_delta, clipped_process, delta_process
from guerdon.shaping.relative import match_anchors, relative

__all__ = [
    "AnchorMap",
    "Credit",
    "DualStep",
    "affine",
    "anchored_tanh",
    "centre",
    "clip",
    "clip_delta",
    "clipped_process",
    "contrast",
    "delta_process",
    "dual_step",
    "implicit_credit",
    "kl_in_reward",
    "lagrangian",
    "length_residual",
    "lengths_of",
    "linear_length",
    "linear_length_penalty",
    "log_sigmoid",
    "lsc",
    "match_anchors",
    "maximum",
    "mean",
    "mean_minus_std",
    "median",
    "minimum",
    "minimum_norm",
    "minimum_norm_weights",
    "minmax",
    "offset",
    "par",
    "pointwise",
    "polynomial",
    "potential",
    "product",
    "relative",
    "running_clip",
    "scale",
    "sgfc",
    "sigmoid",
    "soft_overlong",
    "soft_overlong_penalty",
    "span_terminal",
    "tanh",
    "terminal",
    "uncertainty_weighted",
    "uniform",
    "weighted_sum",
    "with_terminal_reward",
    "zscore",
]
