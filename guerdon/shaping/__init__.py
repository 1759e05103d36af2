"""Shaping: from a reward's channels to the signal that is learned from.

Belongs here: transforms (channel to channel, state explicit), anchors, combinations of channels, constraints, credit
along the steps, potentials, KL inside the reward.
Does not belong here: producing scores (rewards), baselines and returns (advantages), losses (objectives).
"""

from guerdon.shaping.length import (
    length_residual,
    lengths_of,
    linear_length,
    linear_length_penalty,
    soft_overlong,
    soft_overlong_penalty,
)
from guerdon.shaping.normalise import centre, minmax, running_clip, zscore
from guerdon.shaping.pointwise import affine, clip, log_sigmoid, offset, pointwise, scale, sigmoid, tanh

__all__ = [
    "affine",
    "centre",
    "clip",
    "length_residual",
    "lengths_of",
    "linear_length",
    "linear_length_penalty",
    "log_sigmoid",
    "minmax",
    "offset",
    "pointwise",
    "running_clip",
    "scale",
    "sigmoid",
    "soft_overlong",
    "soft_overlong_penalty",
    "tanh",
    "zscore",
]
