"""One preference record for every ecosystem format: pairwise, k-wise, unpaired, stepwise and per-user data are views of
it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from guerdon.errors import GuerdonError


@dataclass(frozen=True)
class Part:
    """One piece of a message. kind: 'text', 'image', 'array' or 'trajectory'; value: a str, a path, an array, a
    segment."""

    kind: str
    value: Any


@dataclass(frozen=True)
class Message:
    """One turn: role ('system', 'user', 'assistant', 'tool') and its parts."""

    role: str
    parts: tuple[Part, ...]

    @staticmethod
    def of(role: str, text: str) -> "Message":
        """A message of one text part."""
        return Message(role, (Part("text", text),))

    @property
    def text(self) -> str:
        """The text parts joined; '' where there are none."""
        return "".join(p.value for p in self.parts if p.kind == "text")


@dataclass(frozen=True)
class Comparison:
    """One judgement: P(responses[first] ≻ responses[second]) = p; ½ is a tie. ``order`` is the order shown: 'first',
    'second', None."""

    first: int
    second: int
    p: float = 1.0
    weight: float = 1.0
    annotator: str | None = None
    order: str | None = None
    margin: float | None = None

    def __post_init__(self) -> None:
        if not 0.0 <= self.p <= 1.0:
            raise GuerdonError(f"Comparison.p must be a probability in [0, 1], but {self.p} came.")
        if self.first == self.second:
            raise GuerdonError(f"Comparison must name two responses, but both sides are {self.first}.")


@dataclass(frozen=True)
class Preference:
    """A prompt, its responses and what is known of them.

    prompt: messages. responses: one or more, each a tuple of messages (usually one assistant message). comparisons:
    any number.
    scores, labels, attributes: per response, or None (scores: float, higher is better; labels: bool; attributes: name
    -> number).
    step_labels: per response a tuple of labels, one a step, or None. extra: every column not understood, kept as it
    came.
    source: 'file:line', for messages and provenance.
    """

    prompt: tuple[Message, ...]
    responses: tuple[tuple[Message, ...], ...]
    comparisons: tuple[Comparison, ...] = ()
    scores: tuple[float | None, ...] | None = None
    labels: tuple[bool | None, ...] | None = None
    attributes: tuple[Mapping[str, float], ...] | None = None
    step_labels: tuple[Sequence[Any], ...] | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)
    source: str | None = None

    def __post_init__(self) -> None:
        k = len(self.responses)
        for name in ("scores", "labels", "attributes", "step_labels"):
            x = getattr(self, name)
            if x is not None and len(x) != k:
                raise GuerdonError(f"Preference.{name} must hold one entry a response ({k}), but {len(x)} came.")
        for c in self.comparisons:
            if not (0 <= c.first < k and 0 <= c.second < k):
                raise GuerdonError(
                    f"Preference: a comparison names responses {c.first} and {c.second}, but there are {k}."
                )

    @staticmethod
    def pair(prompt: str, chosen: str, rejected: str, **extra: Any) -> "Preference":
        """A single-turn text pair, chosen first."""
        return Preference(
            (Message.of("user", prompt),),
            ((Message.of("assistant", chosen),), (Message.of("assistant", rejected),)),
            (Comparison(0, 1),),
            extra=extra,
        )

    @property
    def prompt_text(self) -> str:
        """The prompt as 'role: text' lines; a single user turn is its text alone."""
        if len(self.prompt) == 1 and self.prompt[0].role == "user":
            return self.prompt[0].text
        return "\n".join(f"{m.role}: {m.text}" for m in self.prompt)

    def response_text(self, index: int) -> str:
        """Response ``index`` as text (its messages' texts joined by newlines)."""
        return "\n".join(m.text for m in self.responses[index])

    def pairs(self) -> tuple[tuple[int, int, float, float], ...]:
        """(winner, loser, P(winner ≻ loser), weight) of every comparison, the likelier side first; exact ties keep
        their order."""
        return tuple(
            (c.first, c.second, c.p, c.weight) if c.p >= 0.5 else (c.second, c.first, 1.0 - c.p, c.weight)
            for c in self.comparisons
        )
