"""Rewards in TRL: what its GRPO, RLOO, async GRPO and online DPO trainers take as ``reward_funcs``.

TRL itself is not imported. None stands for NOT_APPLICABLE and FAILED alike (TRL reads it as NaN); how many rows were
either is logged, so that a reward that fails does not look like one that does not apply.
"""

import asyncio
import inspect
import threading
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from guerdon.batch import Status
from guerdon.errors import GuerdonError
from guerdon.integrations.hosts import Invalid, checked_invalid, told
from guerdon.rewards.arithmetic import Sum
from guerdon.rewards.bind import Answer, Bound, bind, identifier, read
from guerdon.rewards.graph import Evaluation, Leaf, Node, as_node
from guerdon.rewards.interface import Reward, State

HOST_WORDS = ("trainer_state", "log_extra", "log_metric")


class TRLReward:
    """One entry of ``reward_funcs``; made by ``as_trl`` and ``trl_rewards``. Picklable where its reward is.

    Called by TRL with keywords: prompts, completions (texts or message lists), completion_ids, the data set's columns
    as lists, and, in trainers that give them, trainer_state, log_extra and log_metric. Gives a number or None a row.
    """

    def __init__(self, source: "Source", term: int | None, name: str, invalid: Invalid | None) -> None:
        self.source, self.term, self.invalid = source, term, invalid
        self.__name__ = self.__qualname__ = name

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.source, self.term, self.__name__, self.invalid)

    def __call__(self, prompts: Sequence[Any], completions: Sequence[Any], **given: Any) -> list[float | None]:
        """A number a row, None where there is none. Raises NeedsError where a column is missing, RewardError where the
        reward raises."""
        return self.said(self.answers(prompts, completions, given), given)

    def node(self) -> Node:
        """The reward behind the numbers."""
        return self.source.node(self.term)

    def answers(self, prompts: Sequence[Any], completions: Sequence[Any], given: Mapping[str, Any]) -> list[Answer]:
        """The answers behind the numbers; safe from any thread."""
        step = getattr(given.get("trainer_state"), "global_step", None) or 0
        # Whatever else a trainer may give beside the columns is no list of one entry a row.
        columns = {
            k: v
            for k, v in given.items()
            if k not in HOST_WORDS and isinstance(v, Sequence) and not isinstance(v, str) and len(v) == len(prompts)
        }
        return self.source.answers(self.term, prompts, completions, columns, step)

    def said(self, answers: Sequence[Answer], given: Mapping[str, Any]) -> list[float | None]:
        """What TRL is told, after counts and components went to its logs."""
        self._log(answers, given.get("log_metric"), given.get("log_extra"))
        if self.invalid is None:
            return [a.value for a in answers]
        return [told(a, self.invalid, f"Row {i} of {self.__name__!r}") for i, a in enumerate(answers)]

    def _log(self, answers: Sequence[Answer], log_metric: Any, log_extra: Any) -> None:
        node = self.node()
        plain = isinstance(node, Leaf) and len(node.channels) == 1  # TRL logs its value already
        components = {} if plain or not answers else answers[0].components
        for component in components:
            values = [a.components[component] for a in answers]
            known = [v for v in values if v is not None]
            if log_metric is not None and known:  # a mean over no row would be NaN and spoil TRL's average
                log_metric(f"rewards/{self.__name__}/{component}/mean", sum(known) / len(known))
            if log_extra is not None:
                log_extra(f"{self.__name__}/{component}", values)
        if log_metric is not None and answers:
            for status in (Status.FAILED, Status.NOT_APPLICABLE):
                share = sum(a.status is status for a in answers) / len(answers)
                log_metric(f"guerdon/{self.__name__}/{status.name.lower()}", share)


class AsyncTRLReward(TRLReward):
    """The same as a coroutine: TRL's asynchronous rewards run beside each other, each in a thread of its own."""

    def __init__(self, source: "Source", term: int | None, name: str, invalid: Invalid | None) -> None:
        super().__init__(source, term, name, invalid)
        # TRL versions that look at the instance, not at its __call__, see this mark (Python 3.12 on).
        getattr(inspect, "markcoroutinefunction", lambda it: it)(self)

    async def __call__(  # type: ignore[override]
        self, prompts: Sequence[Any], completions: Sequence[Any], **given: Any
    ) -> list[float | None]:
        """As ``TRLReward``; TRL's logs are written on the caller's loop, not in the thread."""
        return self.said(await asyncio.to_thread(self.answers, prompts, completions, given), given)


class Source:
    """The reward behind one or several entries: evaluated once a batch for all of them."""

    def __init__(self, bound: Bound) -> None:
        self.bound = bound
        self._lock = threading.Lock()
        self._batch: tuple[Any, Any] | None = None
        self._done: Evaluation | None = None
        self._asked: set[int | None] = set()

    def __reduce__(self) -> tuple[Any, ...]:
        return Source, (self.bound,)

    def node(self, term: int | None) -> Node:
        """The part of the graph that an entry stands for."""
        return self.bound.reward if term is None else self.bound.reward.parts[term]

    def answers(
        self,
        term: int | None,
        prompts: Sequence[Any],
        completions: Sequence[Any],
        columns: Mapping[str, Sequence[Any]],
        step: int,
    ) -> list[Answer]:
        """The answers of one term of the sum, or of the whole. A row that is FAILED as a whole is FAILED in every term,
        since TRL adds a missing term as 0."""
        if term is None:
            return self.bound.answers(prompts, completions, columns, step=step)
        with self._lock:
            # TRL gives every entry the same two lists; one that asks again has a new batch even if they are the same.
            same = self._batch is not None and self._batch[0] is prompts and self._batch[1] is completions
            if self._done is None or not same or term in self._asked:
                self._done = self.bound.evaluation(prompts, completions, columns, step=step)
                self._batch, self._asked = (prompts, completions), set()
            done = self._done
            self._asked.add(term)
            if len(self._asked) == len(done.children):
                self._batch, self._done = None, None  # let the texts go
        whole = read(done)
        return [
            Answer(None, Status.FAILED, a.components, w.note) if w.status is Status.FAILED else a
            for a, w in zip(read(done.children[term]), whole, strict=True)
        ]


@dataclass(frozen=True)
class TRLRewards:
    """``GRPOTrainer(reward_funcs=it.functions, args=GRPOConfig(reward_weights=it.weights))``."""

    functions: list[TRLReward]
    weights: list[float]


def as_trl(
    reward: Reward,
    state: State | None = None,
    *,
    name: str | None = None,
    asynchronous: bool = False,
    invalid: Invalid | None = None,
) -> TRLReward:
    """The reward as one function for TRL's ``reward_funcs``.

    state: the reward's, its initial one if None; running statistics rest at it. Scheduled weights go by TRL's global
    step. TRL logs ``rewards/<name>/mean`` itself; beside it stand ``rewards/<name>/<component>/mean``, a column
    ``<name>/<component>`` in the table of completions, and the share of rows ``guerdon/<name>/failed`` and
    ``guerdon/<name>/not_applicable`` (where the trainer can log).

    name: for TRL's logs, used as it is but for signs that no identifier has. Without one it is the reward's, and where
    another reward called alike has been exported and is still in use in this process, the first free of ``_2``, ``_3``…
    is appended; the same reward keeps its name. A copy that was pickled keeps it too.

    asynchronous: a coroutine that runs the reward in a thread; for rewards that wait (judges, servers). TRL's online
    DPO takes no asynchronous ones, and adds a missing reward as 0: give invalid='raise' or a number there. invalid:
    what to say in place of None ('raise', 'nan', a number).

    Raises GuerdonError where ``invalid`` is none of these.
    """
    bound = bind(reward, state, name=name)
    return _entry(Source(bound), None, bound.__name__, name is not None, asynchronous, invalid)


def trl_rewards(
    reward: Reward, state: State | None = None, *, asynchronous: bool = False, invalid: Invalid | None = None
) -> TRLRewards:
    """A weighted sum (``0.7 * a + 0.3 * b``) as one function a term and the weights, so that every term stands under
    TRL's own name ``rewards/<term>/mean`` and TRL's ways of combining several rewards apply.

    All terms are evaluated together, once a batch. Names and options as in ``as_trl``.

    Raises GuerdonError unless the reward is a sum without a constant, which TRL has no place for.
    """
    node = as_node(reward)
    if not isinstance(node, Sum) or node.bias != 0.0:
        raise GuerdonError(
            f"trl_rewards takes a weighted sum without a constant, but {node.label!r} came; export it with as_trl."
        )
    source = Source(bind(node, state))
    entries = [
        _entry(source, i, identifier(key), False, asynchronous, invalid) for i, key in enumerate(node.children())
    ]
    return TRLRewards(entries, list(node.weights))


_in_use: "weakref.WeakSet[TRLReward]" = weakref.WeakSet()
_naming = threading.Lock()


def _entry(
    source: Source, term: int | None, plain: str, chosen: bool, asynchronous: bool, invalid: Invalid | None
) -> TRLReward:
    checked = None if invalid is None else checked_invalid(invalid)
    made = (AsyncTRLReward if asynchronous else TRLReward)(source, term, plain, checked)
    reward = made.node().identity()
    with _naming:
        taken = {e.__name__ for e in _in_use if e.node().identity() != reward}
        name, number = plain, 1
        while name in taken and not chosen:
            number += 1
            name = f"{plain}_{number}"
        made.__name__ = made.__qualname__ = name
        _in_use.add(made)
    return made
