"""Likelihoods of comparisons, once for policies and for reward models.

Belongs here: P(comparison | scores) as negative log-likelihoods on plain tensors. Does not belong here: what the
scores are
(objectives, rewards) or how they are averaged.
"""

from guerdon.preferences.bradley_terry import bradley_terry

__all__ = ["bradley_terry"]
