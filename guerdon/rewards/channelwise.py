"""Nodes on several channels: transforms of each, combination into one, gathering, renaming."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from guerdon.batch import Channel, Scores, Status
from guerdon.errors import GuerdonError
from guerdon.rewards.graph import Call, Node, Over, as_node
from guerdon.rewards.interface import Combine, Reward, State, Transform
from guerdon.rewards.validity import notes, one, same_shape


@dataclass(frozen=True, eq=False)
class Pipe(Over):
    """Channels through transforms, in order."""

    transforms: tuple[Transform, ...]

    @property
    def label(self) -> str:
        """The transforms' names."""
        return f"{self.name} | " + " | ".join(t.name for t in self.transforms)

    def own_state(self) -> State:
        """channel -> position -> state of that transform; empty states are left out."""
        each = {str(i): s for i, t in enumerate(self.transforms) if (s := t.init())}
        return dict.fromkeys(self.channels, each) if each else {}

    def compute(self, inputs: Sequence[Scores], state: State, call: Call) -> tuple[Scores, State]:
        """The transformed channels and the transforms' next states."""
        out: dict[str, Channel] = {}
        after: dict[str, State] = {}
        for name, channel in inputs[0].channels.items():
            mine = state.get(name, {})
            states: dict[str, State] = {}
            for i, t in enumerate(self.transforms):
                before = mine.get(str(i)) or t.init()
                channel, states[str(i)] = t.apply(channel, call.samples, before, call.context)
            out[name] = channel
            after[name] = {k: v for k, v in states.items() if v}
        return Scores(out), {k: v for k, v in after.items() if v}


@dataclass(frozen=True, eq=False)
class Combined(Node):
    """K channels into one. A FAILED channel makes the unit FAILED; which other channels may be missing is the
    combination's rule."""

    value: Node
    combination: Combine

    @property
    def name(self) -> str:  # type: ignore[override]
        """Combination and reward."""
        return f"{self.combination.name}({self.value.name})"

    @property
    def parts(self) -> tuple[Node, ...]:  # type: ignore[override]
        """The reward of several channels."""
        return (self.value,)

    def own_state(self) -> State:
        """The combination's state."""
        return self.combination.init()

    def compute(self, inputs: Sequence[Scores], state: State, call: Call) -> tuple[Scores, State]:
        """The combined channel; the state is read only (companions change it)."""
        channels = list(inputs[0].channels.values())
        same_shape(self.name, channels)
        values = torch.stack([c.filled() for c in channels])
        ok = torch.stack([c.ok for c in channels])
        value, valid = self.combination(inputs[0].names(), values, ok, state or self.combination.init())
        failed = torch.stack([c.failed for c in channels]).any(0)
        status = torch.where(valid, int(Status.OK), int(Status.NOT_APPLICABLE))
        status = torch.where(failed, int(Status.FAILED), status).to(torch.int8)
        return one(self.name, value, status, notes(channels)), state


@dataclass(frozen=True, eq=False)
class Gather(Node):
    """Several rewards, their channels kept apart."""

    parts: tuple[Node, ...]
    name: str = "gather"

    @property
    def channels(self) -> tuple[str, ...]:  # type: ignore[override]
        """All channels of all parts."""
        return tuple(name for part in self.parts for name in part.channels)

    def compute(self, inputs: Sequence[Scores], state: State, call: Call) -> tuple[Scores, State]:
        """All channels. Raises GuerdonError where two are called alike."""
        out = Scores()
        for scores in inputs:
            out = out.merged(scores)
        return out, state


@dataclass(frozen=True, eq=False)
class Renamed(Node):
    """One channel under another name; several become name/<channel>."""

    value: Node
    name: str

    @property
    def parts(self) -> tuple[Node, ...]:  # type: ignore[override]
        """The renamed reward."""
        return (self.value,)

    @property
    def channels(self) -> tuple[str, ...]:  # type: ignore[override]
        """The new names."""
        old = self.value.channels
        return (self.name,) if len(old) == 1 else tuple(f"{self.name}/{c}" for c in old)

    def compute(self, inputs: Sequence[Scores], state: State, call: Call) -> tuple[Scores, State]:
        """The same channels under the new names."""
        old = inputs[0].channels
        if len(old) == 1:
            return Scores({self.name: inputs[0].only()}), state
        return Scores({f"{self.name}/{n}": c for n, c in old.items()}), state


def gather(*rewards: Reward) -> Gather:
    """Several rewards with their channels kept apart (combine, normalise or log them later)."""
    if not rewards:
        raise GuerdonError("gather needs at least one reward.")
    node = Gather(tuple(as_node(r) for r in rewards))
    twice = {c for c in node.channels if node.channels.count(c) > 1}
    if twice:
        raise GuerdonError(f"gather: the channels {sorted(twice)} stand twice; rename one of the rewards.")
    return node
