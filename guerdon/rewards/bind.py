"""A reward with its state as the plain callable that other trainers call; every exporter stands on it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from guerdon.batch import Channel, Samples, Status
from guerdon.errors import GuerdonError, RewardError
from guerdon.rewards.graph import Call, Evaluation, Leaf, Node, as_node
from guerdon.rewards.interface import Context, Reward, State
from guerdon.rewards.validity import single


@dataclass(frozen=True)
class Answer:
    """One row's reward. value: None unless ``status`` is OK. components: name of a leaf (leaf/channel where it has
    several) -> its own unweighted value, None where that is not OK. note: what the reward said of the row."""

    value: float | None
    status: Status
    components: Mapping[str, float | None] = field(default_factory=dict)
    note: str = ""


class Bound:
    """``(prompts, responses, **columns) -> list[float | None]``; picklable where the reward is; running statistics are
    frozen at ``state``.

    prompts: texts or message lists. responses: texts, or message lists: a reward of texts then reads the last
    assistant message, and the column 'messages' holds them whole. The whole batch is scored at once, so that group
    statistics see their group.
    """

    def __init__(self, reward: Reward, state: State | None = None, *, name: str | None = None) -> None:
        self.reward = as_node(reward)
        self.state = self.reward.init() if state is None else state
        # Trainers name their metrics after __name__ and some crash without it.
        self.__name__ = identifier(name or self.reward.name)
        self.__qualname__ = self.__name__

    def __call__(
        self, prompts: Sequence[Any], responses: Sequence[Any], **columns: Sequence[Any]
    ) -> list[float | None]:
        """One number a row; None stands for NOT_APPLICABLE and for FAILED alike, since trainers know one kind of
        missing value. Raises as ``answers`` does."""
        return [a.value for a in self.answers(prompts, responses, columns)]

    def answers(
        self,
        prompts: Sequence[Any],
        responses: Sequence[Any],
        columns: Mapping[str, Sequence[Any]] | None = None,
        *,
        step: int = 0,
    ) -> list[Answer]:
        """An answer a row: value, status, components. step: the trainer's, which scheduled weights go by.

        Raises NeedsError where a column is missing or the reward has several channels, RewardError where it raises.
        """
        return read(self.evaluation(prompts, responses, columns, step=step))

    def evaluation(
        self,
        prompts: Sequence[Any],
        responses: Sequence[Any],
        columns: Mapping[str, Sequence[Any]] | None = None,
        *,
        step: int = 0,
    ) -> Evaluation:
        """What every node of the graph gave; ``read`` it, or a child of it, as answers. Raises as ``answers`` does."""
        held = {k: list(v) for k, v in (columns or {}).items()}
        texts = [text_of(r) for r in responses]
        if any(not isinstance(r, str) for r in responses):
            held = {"messages": list(responses), **held}
        samples = Samples(None, list(prompts), texts, columns=held)
        try:
            with torch.no_grad():
                call = Call(samples, Context(step=step, training=False))
                return call.evaluate(self.reward, self.state, self.reward.name)
        except GuerdonError:
            raise
        except Exception as error:
            raise RewardError(f"The reward {self.reward.name!r} raised {type(error).__name__}: {error}.") from error

    def answer(self, prompt: Any, response: Any, columns: Mapping[str, Any] | None = None) -> Answer:
        """The answer for one row; columns: name -> its value."""
        return self.answers([prompt], [response], {k: [v] for k, v in (columns or {}).items()})[0]


def bind(reward: Reward, state: State | None = None, *, name: str | None = None) -> Bound:
    """The plain callable of a reward and its state (its initial state where none is given)."""
    return Bound(reward, state, name=name)


def read(done: Evaluation) -> list[Answer]:
    """An answer a row of one node's evaluation. Every component of the node stands in every answer, None where its leaf
    was not asked. Raises NeedsError where the node has several channels."""
    whole = single(done.node.name, done.scores)
    status, value = _statuses(whole), _values(whole)
    parts = _leaves(done)
    notes = whole.note if whole.note is not None else [""] * len(value)
    return [Answer(value[i], status[i], {name: x[i] for name, x in parts.items()}, notes[i]) for i in range(len(value))]


def identifier(text: str) -> str:
    """A text as a Python identifier: what is no letter or digit becomes '_'."""
    plain = "".join(c if c.isalnum() else "_" for c in text).strip("_")
    return plain if plain[:1].isalpha() else f"reward_{plain}" if plain else "reward"


def text_of(response: Any) -> str:
    """A response as text: itself, or the text of the last assistant message of a message list (of its last message
    where no assistant speaks), '' of an empty list. Parts that are no text are left out.

    Raises GuerdonError where it is neither.
    """
    if isinstance(response, str):
        return response
    if isinstance(response, Mapping):
        return _content(response.get("content"))
    if not isinstance(response, Sequence) or any(not isinstance(m, Mapping) for m in response):
        raise GuerdonError(f"A response must be a text or a list of messages, but a {type(response).__name__} came.")
    spoken = [m for m in response if m.get("role") == "assistant"] or list(response)
    return _content(spoken[-1].get("content")) if spoken else ""


def _content(content: Any) -> str:
    if content is None or isinstance(content, str):
        return content or ""
    return "".join(str(p.get("text", "")) if isinstance(p, Mapping) else str(p) for p in content)


def component_names(reward: Reward) -> dict[tuple[int, str], str]:
    """(identity of a leaf, its channel) -> the component's name, in the graph's order, whatever rows come: a host's
    table needs the same columns every time. Of different leaves that are called alike the later ones are numbered."""
    named: dict[tuple[int, str], str] = {}

    def walk(node: Node) -> None:
        for channel in node.channels if isinstance(node, Leaf) else ():
            _name(named, node, channel, len(node.channels))
        for part in node.parts:
            walk(part)

    walk(as_node(reward))
    return named


def _name(named: dict[tuple[int, str], str], leaf: Node, channel: str, channels: int) -> str:
    key = (leaf.identity(), channel if channels > 1 else "")
    if key not in named:
        plain = leaf.name if channels == 1 else f"{leaf.name}/{channel}"
        alike = sum(name.partition("#")[0] == plain for name in named.values())
        named[key] = plain if alike == 0 else f"{plain}#{alike + 1}"
    return named[key]


def _leaves(done: Evaluation) -> dict[str, list[float | None]]:
    """Name -> a value a row, of every leaf. A leaf asked about different rows in several places stands once, with the
    values of all of them."""
    rows = len(next(iter(done.scores.channels.values())).value)
    named = component_names(done.node)
    found: dict[str, list[float | None]] = {name: [None] * rows for name in named.values()}

    def walk(e: Evaluation) -> None:
        for channel in e.scores.names() if isinstance(e.node, Leaf) else ():
            name, values = _name(named, e.node, channel, len(e.scores)), _values(e.scores[channel])
            before = found.get(name, [None] * rows)
            found[name] = [new if old is None else old for old, new in zip(before, values, strict=True)]
        for child in e.children:
            walk(child)

    walk(done)
    return found


def _statuses(channel: Channel) -> list[Status]:
    """A status a row. Of step rewards: FAILED where a step failed, OK where a step is OK."""
    status = channel.statuses()
    if status.ndim == 1:
        return [Status(s) for s in status.tolist()]
    failed, ok = channel.failed.any(1).tolist(), channel.ok.any(1).tolist()
    return [Status.FAILED if f else Status.OK if o else Status.NOT_APPLICABLE for f, o in zip(failed, ok, strict=True)]


def _values(channel: Channel) -> list[float | None]:
    """A number a row (of step rewards the sum over OK steps), None where the row is not OK."""
    value = channel.value if channel.value.ndim == 1 else channel.filled().sum(1)
    return [float(v) if s is Status.OK else None for v, s in zip(value.tolist(), _statuses(channel), strict=True)]
