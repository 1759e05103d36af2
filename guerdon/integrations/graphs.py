"""What a reward's graph tells an exporter: the terms a host may add up itself, and whether it needs a whole group."""

import math
from dataclasses import dataclass

from guerdon.errors import NeedsError, RewardError
from guerdon.integrations.hosts import Invalid
from guerdon.rewards.arithmetic import Sum
from guerdon.rewards.bind import Answer, read
from guerdon.rewards.channelwise import Pipe
from guerdon.rewards.graph import Evaluation, Leaf, Node, as_node
from guerdon.rewards.interface import Reward

ALONE = (None, "running")
"""Partitions that need no other row: none, and statistics kept in the state."""


@dataclass(frozen=True)
class Term:
    """One term of a weighted sum: its name, its weight, whether it is a leaf (then it stands among the components,
    under their name for it), and its unweighted answer a row."""

    name: str
    weight: float
    leaf: bool
    answers: list[Answer]


def summed(node: Node) -> bool:
    """Whether Σ weight · part over the parts that apply is all that the node does (a constant would vanish with the
    parts)."""
    return isinstance(node, Sum) and node.bias == 0.0


def weights(reward: Reward) -> dict[str, float]:
    """Term -> weight of a weighted sum; any other reward is one term of weight 1. Names are those of ``terms``."""
    node = as_node(reward)
    if isinstance(node, Sum) and summed(node):
        return dict(zip(node.children(), node.weights, strict=True))
    return {node.name: 1.0}


def terms(done: Evaluation) -> list[Term]:
    """The terms of what was evaluated. Over those that are OK, Σ weight · value is the reward (to rounding)."""
    inner = done.children if summed(done.node) else (done,)
    named = weights(done.node).items()
    return [Term(n, w, isinstance(e.node, Leaf), read(e)) for (n, w), e in zip(named, inner, strict=True)]


def told_part(value: float | None, missing: Invalid, name: str) -> float:
    """A component's value, or what ``missing`` puts in its place. Raises RewardError where that is 'raise'."""
    if value is not None:
        return value
    if missing == "raise":
        raise RewardError(
            f"The component {name!r} has no value for this row, and this host wants one for every row; say what it "
            "shall be told: missing='nan' or a number."
        )
    return math.nan if isinstance(missing, str) else float(missing)


def group_need(reward: Reward) -> str | None:
    """The part that reads statistics of other rows (a transform or leaf with a ``partition``), or None. What a plain
    function reads of its batch cannot be told."""
    node = as_node(reward)
    readers = node.transforms if isinstance(node, Pipe) else (node.reward,) if isinstance(node, Leaf) else ()
    for reader in readers:
        if getattr(reader, "partition", None) not in ALONE:
            return reader.name
    return next((found for part in node.parts if (found := group_need(part)) is not None), None)


def refuse_group(reward: Reward, host: str, remedy: str) -> None:
    """Raise NeedsError where the reward needs other rows than the one that ``host`` gives it."""
    found = group_need(reward)
    if found is not None:
        raise NeedsError(
            f"{found!r} reads statistics of a group of rows, but {host} scores one row at a time; {remedy}."
        )
