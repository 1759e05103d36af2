"""Whether a response keeps to a format: think/answer tags, JSON, or a pattern."""

import json
import re
from dataclasses import dataclass

from guerdon.batch import Samples, Scores
from guerdon.errors import GuerdonError
from guerdon.rewards.interface import Context, Reward, State
from guerdon.rewards.rules.common import scores


def answer_in(response: str, opening: str = "<answer>", closing: str = "</answer>") -> str | None:
    """The text between the *last* closing tag and the opening tag before it, or None.

    The last, because a response may name the tags, or plant a verdict, before it answers.
    """
    end = response.rfind(closing)
    start = response.rfind(opening, 0, end) if end >= 0 else -1
    return response[start + len(opening) : end].strip() if start >= 0 else None


@dataclass(frozen=True)
class ThinkFormat(Reward):
    """1 where the whole response is ``<think>…</think>`` then ``<answer>…</answer>``, each tag once, both filled; else
    0.

    With ``answer`` False only the thought is asked for and something must follow it. White space around the parts is
    free.
    """

    answer: bool = True
    name: str = "think_format"

    def score(self, samples: Samples, state: State, context: Context) -> tuple[Scores, State]:
        """One number a row."""
        return scores(self.name, [float(self._fits(r)) for r in samples.texts()]), state

    def _fits(self, response: str) -> bool:
        tags = ("<think>", "</think>", *(("<answer>", "</answer>") if self.answer else ()))
        if any(response.count(tag) != 1 for tag in tags):
            return False
        tail = r"<answer>(.+)</answer>" if self.answer else r"(.+)"
        found = re.fullmatch(rf"\s*<think>(.+)</think>\s*{tail}\s*", response, re.DOTALL)
        return found is not None and all(part.strip() for part in found.groups())


@dataclass(frozen=True)
class JsonFormat(Reward):
    """1 where the whole response is one JSON value (an object with ``keys``, where given), else 0; a code fence around
    it is allowed with ``fence``. NaN and Infinity are not JSON."""

    keys: tuple[str, ...] = ()
    fence: bool = False
    name: str = "json_format"

    def score(self, samples: Samples, state: State, context: Context) -> tuple[Scores, State]:
        """One number a row."""
        return scores(self.name, [float(self._fits(r)) for r in samples.texts()]), state

    def _fits(self, response: str) -> bool:
        text = response.strip()
        if self.fence and (found := re.fullmatch(r"```(?:json)?\s*\n(.*?)\n?```", text, re.DOTALL)):
            text = found.group(1)
        try:
            value = json.loads(text, parse_constant=_refuse)
        except (ValueError, RecursionError):
            return False
        return not self.keys or (isinstance(value, dict) and set(self.keys) <= set(value))


@dataclass(frozen=True)
class PatternFormat(Reward):
    """1 where the pattern matches the *whole* response (dot matches line ends), else 0."""

    pattern: str
    name: str = "pattern_format"

    def __post_init__(self) -> None:
        try:
            re.compile(self.pattern)
        except re.error as error:
            raise GuerdonError(f"PatternFormat.pattern {self.pattern!r} is no regular expression: {error}.") from None

    def score(self, samples: Samples, state: State, context: Context) -> tuple[Scores, State]:
        """One number a row."""
        fits = [re.fullmatch(self.pattern, r, re.DOTALL) is not None for r in samples.texts()]
        return scores(self.name, [float(f) for f in fits]), state


def _refuse(constant: str) -> None:
    raise ValueError(constant)
