"""A reward with its state as the plain callable that other trainers call."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from guerdon.batch import Samples
from guerdon.rewards.graph import as_node
from guerdon.rewards.interface import Context, Reward, State
from guerdon.rewards.validity import single


class Bound:
    """``(prompts, responses, **columns) -> list[float | None]``; picklable where the reward is; running statistics are
    frozen.

    None stands for NOT_APPLICABLE and for FAILED alike: trainers know one kind of missing value.
    """

    def __init__(self, reward: Reward, state: State | None = None, *, name: str | None = None) -> None:
        self.reward = as_node(reward)
        self.state = self.reward.init() if state is None else state
        # Trainers name their metrics after __name__ and some crash without it.
        self.__name__ = _identifier(name or self.reward.name)
        self.__qualname__ = self.__name__

    def __call__(
        self, prompts: Sequence[Any], responses: Sequence[Any], **columns: Sequence[Any]
    ) -> list[float | None]:
        """One number or None a row. Raises NeedsError where a column is missing or the reward has several channels."""
        samples = Samples(None, list(prompts), list(responses), columns={k: list(v) for k, v in columns.items()})
        scores, _ = self.reward.score(samples, self.state, replace(Context(), training=False))
        channel = single(self.reward.name, scores)
        value = channel.value if channel.value.ndim == 1 else channel.filled().sum(1)
        ok = channel.ok if channel.ok.ndim == 1 else channel.ok.any(1) & ~channel.failed.any(1)
        return [float(v) if good else None for v, good in zip(value.tolist(), ok.tolist(), strict=True)]


def bind(reward: Reward, state: State | None = None, *, name: str | None = None) -> Bound:
    """The plain callable of a reward and its state (its initial state where none is given)."""
    return Bound(reward, state, name=name)


def _identifier(text: str) -> str:
    plain = "".join(c if c.isalnum() else "_" for c in text).strip("_")
    return plain if plain[:1].isalpha() else f"reward_{plain}" if plain else "reward"
