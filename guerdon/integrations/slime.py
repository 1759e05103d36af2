"""Rewards in slime: the coroutine of ``--custom-rm-path module.function``.

slime asks for one sample (``fn(args, sample)``), or for a list of samples where ``--group-rm`` is set or a rollout
gives several; from the latter's group, group statistics can be computed. Read at slime 0.3.1, slime/rollout/rm_hub.
Its ``--rm-type remote_rm`` is served by ``guerdon.integrations.server``.
"""

import asyncio
import math
from collections.abc import Mapping, Sequence
from typing import Any

from guerdon.errors import NeedsError
from guerdon.integrations.batching import Batcher, Rows
from guerdon.integrations.graphs import group_need
from guerdon.integrations.hosts import Invalid, checked_invalid, told
from guerdon.integrations.openrlhf import one_channel
from guerdon.rewards.bind import Answer, Bound
from guerdon.rewards.interface import Reward

Told = float | dict[str, float]
WHOLE = "reward"


def as_slime(
    reward: Reward | Bound, *, invalid: Invalid = "raise", label: str | None = None, components: bool = False
) -> Any:
    """``async fn(args, sample)`` and ``async fn(args, samples)`` in one, for slime: bind it to a module's name.

    The reward reads ``sample.prompt`` and ``sample.response``, the columns 'label' and 'answer' (and ``label``, if
    named) from ``sample.label``, and every other column it needs from ``sample.metadata``. components: give a dict with
    'reward' and every component (NaN without a value) for ``--reward-key reward``, instead of a number. invalid: what a
    sample without a valid reward is told.

    Samples asked about at the same time are scored together where the reward is row-wise; scoring runs in a thread of
    its own. Raises NeedsError where the reward has several channels; when called, where metadata lack a column, or
    where it needs its group and one sample came.
    """
    return _Slime(one_channel(reward), checked_invalid(invalid), label, components)


class _Slime:
    def __init__(self, bound: Bound, invalid: Invalid, label: str | None, components: bool) -> None:
        self.bound, self.invalid, self.label, self.components = bound, invalid, label, components
        self.group = group_need(bound.reward)
        self.__name__ = self.__qualname__ = bound.__name__
        self.batcher = Batcher(bound)

    def __reduce__(self) -> tuple[Any, ...]:
        return _Slime, (self.bound, self.invalid, self.label, self.components)

    async def __call__(self, args: Any, sample: Any, **ignored: Any) -> Told | list[Told]:
        """A number or dict for a sample, a list of them for samples."""
        samples = sample if isinstance(sample, list) else [sample]
        if not isinstance(sample, list) and self.group is not None:
            raise NeedsError(
                f"{self.group!r} reads statistics of a group of samples, but slime gave one; set --group-rm."
            )
        if not samples:
            return []
        answers = await asyncio.wrap_future(self.batcher.submit(self._rows(samples)))
        found = [self._told(a, f"Sample {i}") for i, a in enumerate(answers)]
        return found if isinstance(sample, list) else found[0]

    def _rows(self, samples: Sequence[Any]) -> Rows:
        labelled = {"label", "answer", *([] if self.label is None else [self.label])}
        columns = {name: [s.label for s in samples] for name in labelled}
        for name in (n for n in self.bound.reward.needs if n not in labelled):
            columns[name] = [_metadata(s, name, self.bound.reward.name) for s in samples]
        return Rows([s.prompt for s in samples], [s.response for s in samples], columns)

    def _told(self, answer: Answer, row: str) -> Told:
        value = told(answer, self.invalid, row)
        if not self.components:
            return value
        return {**{k: math.nan if v is None else v for k, v in answer.components.items()}, WHOLE: value}


def _metadata(sample: Any, name: str, reward: str) -> Any:
    held = sample.metadata
    if not isinstance(held, Mapping) or name not in held:
        there = sorted(held) if isinstance(held, Mapping) else held
        raise NeedsError(f"Reward {reward!r} needs the column {name!r}, but this sample's metadata hold {there!r}.")
    return held[name]
