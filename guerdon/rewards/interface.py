"""What a reward, a transform and a combination are: three small interfaces, state always explicit.

State is a mapping of tensors, numbers, strings and nested mappings, owned by the caller and never changed in place, so
that it can be checkpointed, frozen and compared.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from torch import Tensor

from guerdon.batch import Channel, Samples, Scores, Seed

if TYPE_CHECKING:
    from guerdon.rewards.algebra import Condition, Node
    from guerdon.rewards.explain import Explanation
    from guerdon.rewards.schedules import Schedule

State = Mapping[str, Any]


@dataclass(frozen=True)
class Context:
    """What a reward may know of the run besides the samples.

    round, step: where the run is. seed: the key for whatever is drawn. training: running statistics update only when
    True. anchors: per prompt, responses kept to compare with (matched by the 'prompt' partition keys in
    ``Samples.prompts``), or None. log: called with (node path, Channel) for every node of the graph, or None.
    """

    round: int = 0
    step: int = 0
    seed: Seed = field(default_factory=lambda: Seed(0))
    training: bool = True
    anchors: Samples | None = None
    log: Callable[[str, Channel], None] | None = None


class Reward:
    """Base of every reward; operators build the graph of ``guerdon.rewards.algebra``.

    A subclass gives ``name``, ``needs`` (columns or payload kinds it reads), ``channels`` (their names),
    ``differentiable`` and ``score``; ``init`` only where it has state.
    """

    name: str
    needs: tuple[str, ...] = ()
    channels: tuple[str, ...] = ()
    differentiable: bool = False

    def init(self) -> State:
        """The state before the first call; {} for a stateless reward."""
        return {}

    def score(self, samples: Samples, state: State, context: Context) -> tuple[Scores, State]:
        """Scores for every row and the next state. Must not change ``samples`` or ``state``."""
        raise NotImplementedError

    def node(self) -> "Node":
        """This reward as a node of the algebra."""
        from guerdon.rewards.algebra import as_node

        return as_node(self)

    def __add__(self, other: "Reward | float") -> "Node":
        return self.node() + other

    __radd__ = __add__

    def __sub__(self, other: "Reward | float") -> "Node":
        return self.node() - other

    def __rsub__(self, other: float) -> "Node":
        return other - self.node()

    def __mul__(self, other: "Reward | float") -> "Node":
        return self.node() * other

    __rmul__ = __mul__

    def __neg__(self) -> "Node":
        return -1.0 * self.node()

    def pipe(self, *transforms: "Transform") -> "Node":
        """This reward sent through transforms in order: ``a.pipe(zscore('prompt'), sigmoid())``."""
        return self.node().pipe(*transforms)

    def gate(self, condition: "Reward", threshold: float = 0.5, otherwise: float = 0.0) -> "Node":
        """This reward where ``condition`` > threshold, ``otherwise`` elsewhere."""
        return self.node().gate(condition, threshold, otherwise)

    def combine(self, combination: "Combine") -> "Node":
        """One channel from this reward's several."""
        return self.node().combine(combination)

    def schedule(self, weight: "Schedule") -> "Node":
        """This reward times a weight that depends on ``context.step``: ``a.schedule(linear(0, 1, steps=100))``."""
        return self.node().schedule(weight)

    def rename(self, name: str) -> "Node":
        """The same values under another name."""
        return self.node().rename(name)

    def __le__(self, other: "Reward | float") -> "Condition":
        return self.node() <= other

    def __lt__(self, other: "Reward | float") -> "Condition":
        return self.node() < other

    def __ge__(self, other: "Reward | float") -> "Condition":
        return self.node() >= other

    def __gt__(self, other: "Reward | float") -> "Condition":
        return self.node() > other

    def explain(self, samples: Samples, row: int = 0, state: State | None = None) -> "Explanation":
        """How row ``row`` came to its score: value, status and note of every node; ``print`` it for a table."""
        from guerdon.rewards.explain import explain

        return explain(self, samples, row, state)


@runtime_checkable
class Transform(Protocol):
    """One channel to one channel, with explicit state (shaping/)."""

    @property
    def name(self) -> str:
        """What the node is called in trees and logs."""
        ...

    def init(self) -> State:
        """State before the first call."""
        ...

    def apply(self, channel: Channel, samples: Samples, state: State, context: Context) -> tuple[Channel, State]:
        """The transformed channel (invalid stays invalid) and the next state."""
        ...


@runtime_checkable
class Combine(Protocol):
    """K channels to one; the same object serves at stage *reward*, *advantage* and *gradient*.

    values [K,*] may be rewards [K,N], advantages [K,N,T] or flat gradients [K,D]; ok [K,*] says which are valid.
    """

    @property
    def name(self) -> str:
        """What the node is called in trees and logs."""
        ...

    def init(self) -> State:
        """State before the first call (multipliers, smoothed weights)."""
        ...

    def __call__(self, names: tuple[str, ...], values: Tensor, ok: Tensor, state: State) -> tuple[Tensor, Tensor]:
        """(combined [*], ok [*]); reads the state, never changes it (companions do)."""
        ...
