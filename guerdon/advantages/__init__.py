"""Advantages: step rewards or row rewards and partitions in, advantages [N] or [N,T] out.

Belongs here: pure estimators (Monte-Carlo, GAE, leave-one-out, greedy baseline, group-relative, per channel, per turn)
and whitening.
Does not belong here: making step rewards (shaping's credit), losses (objectives), value networks (companions).

Every group estimator returns an ``Estimate``: the advantage, 0 where there is nothing to learn from, and ok saying
where.
"""

from guerdon.advantages.channels import gdpo, per_channel
from guerdon.advantages.estimate import Estimate, spread
from guerdon.advantages.greedy import remax
from guerdon.advantages.group import CONVENTIONS, Convention, group_relative, reinforce, rloo
from guerdon.advantages.process import prime
from guerdon.advantages.returns import Gae, gae, monte_carlo
from guerdon.advantages.turns import span_relative, turn_level
from guerdon.advantages.whiten import whiten

__all__ = [
    "CONVENTIONS",
    "Convention",
    "Estimate",
    "Gae",
    "gae",
    "gdpo",
    "group_relative",
    "monte_carlo",
    "per_channel",
    "prime",
    "reinforce",
    "remax",
    "rloo",
    "span_relative",
    "spread",
    "turn_level",
    "whiten",
]
