"""The finite world: prompts × enumerated responses, sampled like any world and also computed exactly.

Belongs here: the world, its softmax policies, and oracles in closed form (``exact``). Does not belong here: the
testbeds built on it (``lab``), or anything that must hold for other worlds too.
"""

from guerdon.worlds.finite import exact
from guerdon.worlds.finite.policies import LinearPolicy, TabularPolicy
from guerdon.worlds.finite.world import FiniteRows, FiniteWorld, lookup

__all__ = ["FiniteRows", "FiniteWorld", "LinearPolicy", "TabularPolicy", "exact", "lookup"]
