"""Whether rows of different callers may be scored in one call: only where no score can depend on the rows beside it.

``graphs.group_need`` finds what is known to read other rows; here stands the stricter question, what is known not to.
"""

from collections.abc import Iterator

from guerdon.rewards import FunctionReward, Node, Reward, Runner, as_node
from guerdon.rewards.arithmetic import Extreme, Product, Scheduled, Sum
from guerdon.rewards.channelwise import Combined, Gather, Pipe, Renamed
from guerdon.rewards.conditions import Condition, Constrained, Gate
from guerdon.rewards.dispatching import Dispatch
from guerdon.rewards.graph import Leaf
from guerdon.rewards.models import ModelReward
from guerdon.rewards.rules import (
    JsonFormat,
    Length,
    Match,
    MathAnswer,
    Overlong,
    PatternFormat,
    Repetition,
    ThinkFormat,
)
from guerdon.shaping.combine import Aggregate, Pessimistic, WeightedSum
from guerdon.shaping.lagrangian import Lagrangian
from guerdon.shaping.length import LinearLength, SoftOverlong
from guerdon.shaping.normalise import RUNNING, RunningClip
from guerdon.shaping.pointwise import Affine, Clip, Pointwise, Squash

# What is named here gives each row its score from that row alone; whatever is not named may look at others.
LEAVES = (JsonFormat, Length, Match, MathAnswer, ModelReward, Overlong, PatternFormat, Repetition, Runner, ThinkFormat)
NODES = (
    Combined,
    Condition,
    Constrained,
    Dispatch,
    Extreme,
    Gate,
    Gather,
    Leaf,
    Pipe,
    Product,
    Renamed,
    Scheduled,
    Sum,
)
TRANSFORMS = (Affine, Clip, LinearLength, Pointwise, RunningClip, SoftOverlong, Squash)
COMBINATIONS = (Aggregate, Lagrangian, Pessimistic, WeightedSum)


def row_wise(reward: Reward) -> bool:
    """Whether every row's score is known to depend on that row alone (running statistics being frozen).

    Known of guerdon's own rules, models, transforms and combinations, and of functions that are called once a row
    (``each=True``). A function of all rows may do anything with them, so it is not known of those.
    """
    return all(_alone(node) for node in nodes(as_node(reward)))


def nodes(node: Node) -> Iterator[Node]:
    """A graph's nodes, each before its parts."""
    yield node
    for part in node.parts:
        yield from nodes(part)


def _alone(node: Node) -> bool:
    if isinstance(node, Leaf):
        inner = node.reward
        return inner.each if isinstance(inner, FunctionReward) else isinstance(inner, LEAVES)
    if isinstance(node, Pipe):
        return all(isinstance(t, TRANSFORMS) or getattr(t, "partition", None) == RUNNING for t in node.transforms)
    if isinstance(node, Combined):
        return isinstance(node.combination, COMBINATIONS)
    return isinstance(node, NODES)
