"""Whatever turns samples into scores, and the algebra that composes it.

Belongs here: the interfaces (Reward, Transform, Combine), plain functions as rewards, the graph and its serialisation,
running rewards beside generation, learned models (``models``), rules (``rules``). Does not belong here: what changes or
combines channels (``guerdon.shaping``), fitting (``guerdon.training``), exporters (``guerdon.integrations``).
"""

from guerdon.rewards.algebra import (
    Condition,
    Node,
    as_node,
    constrained,
    dispatch,
    gather,
    maximum,
    minimum,
    total,
)
from guerdon.rewards.bind import Answer, Bound, bind
from guerdon.rewards.environment import environment_return, environment_reward, per_transition, potential_shaping
from guerdon.rewards.episodes import at_turn_ends, episode_reward, tool_cost, turn_reward
from guerdon.rewards.explain import Explanation, explain
from guerdon.rewards.functions import FunctionReward, reward
from guerdon.rewards.interface import Combine, Context, Reward, State, Transform
from guerdon.rewards.past import WinRateQueue
from guerdon.rewards.running import Runner
from guerdon.rewards.schedules import Schedule, constant, cosine, linear
from guerdon.rewards.serialise import dumps, from_dict, loads, to_dict
from guerdon.rewards.teams import cooperative_reward, integrated_reward, team_reward

__all__ = [
    "Answer",
    "Bound",
    "Combine",
    "Condition",
    "Context",
    "Explanation",
    "FunctionReward",
    "Node",
    "Reward",
    "Runner",
    "Schedule",
    "State",
    "Transform",
    "WinRateQueue",
    "as_node",
    "at_turn_ends",
    "bind",
    "constant",
    "constrained",
    "cooperative_reward",
    "cosine",
    "dispatch",
    "dumps",
    "environment_return",
    "environment_reward",
    "episode_reward",
    "explain",
    "from_dict",
    "gather",
    "integrated_reward",
    "linear",
    "loads",
    "maximum",
    "minimum",
    "per_transition",
    "potential_shaping",
    "reward",
    "team_reward",
    "to_dict",
    "tool_cost",
    "total",
    "turn_reward",
]
