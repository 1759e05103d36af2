"""What the algebra's graph is made of: nodes, leaves, and one call that evaluates every node once.

A node that takes part twice in one graph is computed once a call. State is nested by the keys that ``Node.children``
gives; a node's own state stands under ''. The output channel of a one-channel node bears the node's name.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from guerdon.batch import Samples, Scores
from guerdon.errors import GuerdonError, RewardError
from guerdon.rewards.interface import Combine, Context, Reward, State, Transform
from guerdon.rewards.schedules import Schedule
from guerdon.rewards.validity import number

if TYPE_CHECKING:
    from guerdon.rewards.conditions import Condition

OWN = ""


@dataclass(frozen=True)
class Evaluation:
    """What one node gave in one call: its path, its scores, the next state, and its children's evaluations."""

    path: str
    node: "Node"
    scores: Scores
    state: State
    children: tuple["Evaluation", ...] = ()


@dataclass(frozen=True)
class Call:
    """One call of a graph: the samples, the context, and what has been computed already (by node or leaf identity)."""

    samples: Samples
    context: Context
    done: dict[int, Evaluation] = field(default_factory=dict)

    def evaluate(self, node: "Node", state: State, path: str) -> Evaluation:
        """Evaluate ``node`` once; a second use shares scores and next state. Logs every use under its own path."""
        key = node.identity()
        if key not in self.done:
            self.done[key] = node.evaluate(self, state, path)
        found = replace(self.done[key], path=path)
        if self.context.log is not None:
            for name, channel in found.scores.channels.items():
                self.context.log(path if len(found.scores) == 1 else f"{path}:{name}", channel)
        return found


class Node(Reward):
    """A reward made of rewards. Subclasses give ``parts``, ``label`` and ``compute``; ``evaluate`` only where the rows
    differ."""

    name: str
    parts: tuple["Node", ...]  # the nodes this one reads

    @property
    def label(self) -> str:
        """One line for the tree: what this node does."""
        return self.name

    def identity(self) -> int:
        """Equal exactly for uses that share one computation."""
        return id(self)

    def own_state(self) -> State:
        """This node's own state before the first call, without its children's."""
        return {}

    def compute(self, inputs: Sequence[Scores], state: State, call: Call) -> tuple[Scores, State]:
        """Scores from the children's scores and the own state, and the next own state."""
        raise NotImplementedError

    def children(self) -> dict[str, "Node"]:
        """The parts by key: their names, numbered where two are called alike. Paths, states and logs use these keys."""
        keyed: dict[str, Node] = {}
        for part in self.parts:
            key, count = part.name, 2
            while key in keyed:
                key, count = f"{part.name}#{count}", count + 1
            keyed[key] = part
        return keyed

    @property
    def needs(self) -> tuple[str, ...]:  # type: ignore[override]
        """All that the leaves need, each once."""
        return tuple(dict.fromkeys(need for part in self.parts for need in part.needs))

    @property
    def channels(self) -> tuple[str, ...]:  # type: ignore[override]
        """Names of the output channels."""
        return (self.name,)

    @property
    def differentiable(self) -> bool:  # type: ignore[override]
        """Whether any leaf carries gradient."""
        return any(part.differentiable for part in self.parts)

    def init(self) -> State:
        """Nested by child key, the own state under ''; empty parts are left out."""
        nested = {key: child.init() for key, child in self.children().items()}
        nested[OWN] = self.own_state()
        return {key: value for key, value in nested.items() if value}

    def evaluate(self, call: Call, state: State, path: str) -> Evaluation:
        """Evaluate the children on the same rows, then ``compute``."""
        inner = [call.evaluate(child, state.get(key, {}), f"{path}/{key}") for key, child in self.children().items()]
        scores, own = self.compute([e.scores for e in inner], state.get(OWN, {}), call)
        nested = {key: e.state for key, e in zip(self.children(), inner, strict=True)}
        nested[OWN] = own
        return Evaluation(path, self, scores, {k: v for k, v in nested.items() if v}, tuple(inner))

    def score(self, samples: Samples, state: State, context: Context) -> tuple[Scores, State]:
        """Scores of every row and the next state."""
        done = Call(samples, context).evaluate(self, state, self.name)
        return done.scores, done.state

    def tree(self) -> str:
        """The graph as indented text, one node a line."""

        def lines(node: "Node", depth: int) -> list[str]:
            return ["  " * depth + node.label, *(x for part in node.parts for x in lines(part, depth + 1))]

        return "\n".join(lines(self, 0))

    def node(self) -> "Node":
        """Itself."""
        return self

    def to_dict(self) -> dict[str, Any]:
        """The graph as plain JSON values; see ``guerdon.rewards.serialise``."""
        from guerdon.rewards.serialise import to_dict

        return to_dict(self)

    def __add__(self, other: Reward | float) -> "Node":
        from guerdon.rewards.arithmetic import Sum, total

        return total(self, other) if isinstance(other, Reward) else Sum((self,), (1.0,), number(other))

    __radd__ = __add__

    def __sub__(self, other: Reward | float) -> "Node":
        return self + (-1.0 * other)

    def __rsub__(self, other: float) -> "Node":
        return -1.0 * self + other

    def __mul__(self, other: Reward | float) -> "Node":
        from guerdon.rewards.arithmetic import Product, Sum

        if isinstance(other, Reward):
            left = self.parts if isinstance(self, Product) and self.name == "product" else (self,)
            return Product((*left, other.node()))
        if isinstance(self, Sum) and len(self.parts) == 1:  # 2 * (3 * a + 1) is one node
            w = number(other)
            return Sum(self.parts, (self.weights[0] * w,), self.bias * w, self.name)
        return Sum((self,), (number(other),))

    __rmul__ = __mul__

    def __truediv__(self, other: float) -> "Node":
        return self * (1.0 / number(other))

    def __neg__(self) -> "Node":
        return -1.0 * self

    def __le__(self, other: Reward | float) -> "Condition":
        from guerdon.rewards.conditions import compare

        return compare(self, "<=", other)

    def __lt__(self, other: Reward | float) -> "Condition":
        from guerdon.rewards.conditions import compare

        return compare(self, "<", other)

    def __ge__(self, other: Reward | float) -> "Condition":
        from guerdon.rewards.conditions import compare

        return compare(self, ">=", other)

    def __gt__(self, other: Reward | float) -> "Condition":
        from guerdon.rewards.conditions import compare

        return compare(self, ">", other)

    def pipe(self, *transforms: Transform) -> "Node":
        """Each channel through the transforms in order, each channel with its own transform states."""
        for t in transforms:
            if not isinstance(t, Transform):
                raise GuerdonError(f"pipe takes transforms (init and apply), but a {type(t).__name__} came.")
        from guerdon.rewards.channelwise import Pipe

        return Pipe(self, tuple(transforms)) if transforms else self

    def gate(self, condition: Reward, threshold: float = 0.5, otherwise: float = 0.0) -> "Node":
        """This value where ``condition`` > threshold, ``otherwise`` where it is not, the condition's status where it is
        invalid."""
        from guerdon.rewards.conditions import Gate

        return Gate(self, condition.node(), float(threshold), float(otherwise))

    def combine(self, combination: Combine) -> "Node":
        """One channel from several."""
        from guerdon.rewards.channelwise import Combined

        return Combined(self, combination)

    def schedule(self, weight: Schedule) -> "Node":
        """Times ``weight(context.step)``."""
        from guerdon.rewards.arithmetic import Scheduled

        return Scheduled(self, weight)

    def rename(self, name: str) -> "Node":
        """The same values under another name."""
        from guerdon.rewards.channelwise import Renamed

        return Renamed(self, name)


@dataclass(frozen=True, eq=False)
class Over(Node):
    """A node that changes the values of one reward and keeps its name and channels."""

    value: Node

    @property
    def name(self) -> str:  # type: ignore[override]
        """The inner reward's name."""
        return self.value.name

    @property
    def channels(self) -> tuple[str, ...]:  # type: ignore[override]
        """Unchanged."""
        return self.value.channels

    @property
    def parts(self) -> tuple[Node, ...]:  # type: ignore[override]
        """The inner reward."""
        return (self.value,)


@dataclass(frozen=True, eq=False)
class Leaf(Node):
    """A reward that is not itself a graph."""

    reward: Reward

    @property
    def parts(self) -> tuple[Node, ...]:  # type: ignore[override]
        """A leaf reads no nodes."""
        return ()

    @property
    def name(self) -> str:  # type: ignore[override]
        """The reward's name."""
        return self.reward.name

    @property
    def needs(self) -> tuple[str, ...]:  # type: ignore[override]
        """What the reward reads."""
        return tuple(self.reward.needs)

    @property
    def channels(self) -> tuple[str, ...]:  # type: ignore[override]
        """The reward's own channel names."""
        return tuple(self.reward.channels) or (self.name,)

    @property
    def differentiable(self) -> bool:  # type: ignore[override]
        """Whether the reward carries gradient."""
        return self.reward.differentiable

    @property
    def label(self) -> str:
        """Name and class."""
        return f"{self.name} ({type(self.reward).__name__})"

    def identity(self) -> int:
        """One reward object is scored once a call, however often it is named."""
        return id(self.reward)

    def init(self) -> State:
        """The reward's own state."""
        return self.reward.init()

    def evaluate(self, call: Call, state: State, path: str) -> Evaluation:
        """Ask the reward, and refuse what is not one value for every row."""
        try:
            scores, after = self.reward.score(call.samples, state, call.context)
        except RewardError as error:
            text = str(error)
            raise RewardError(text if self.name in text else f"Reward {self.name!r}: {text}") from error
        if not isinstance(scores, Scores) or not len(scores):
            raise RewardError(f"Reward {self.name!r} must give Scores with at least one channel, but gave {scores!r}.")
        rows = len(next(iter(scores.channels.values())).value)
        if rows != len(call.samples):
            raise RewardError(f"Reward {self.name!r} must score {len(call.samples)} rows, but scored {rows}.")
        return Evaluation(path, self, scores, after)


def as_node(reward: Reward) -> Node:
    """A reward as a node of the algebra."""
    if isinstance(reward, Node):
        return reward
    if not isinstance(reward, Reward):
        raise GuerdonError(f"A reward was expected, but a {type(reward).__name__} came; lift functions with @reward.")
    return Leaf(reward)
