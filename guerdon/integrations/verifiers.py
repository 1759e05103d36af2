"""Rewards in verifiers: a reward of a v1 Task, a scorer of groups of traces, and a Rubric of the older API.

v1 (0.4) keeps None for 'not scored' and records a raised error on the trace, so an invalid reward raises there. The
older Rubric (to 0.3) reads every exception as 0.0, so there an invalid reward is NaN, and errors are logged.
"""

import asyncio
import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import uuid4

from guerdon.errors import GuerdonError, NeedsError, RewardError
from guerdon.integrations.graphs import Term, group_need, refuse_group, terms, weights
from guerdon.integrations.hosts import Invalid, checked_invalid, told
from guerdon.rewards.bind import Answer, Bound, bind, component_names, identifier, read
from guerdon.rewards.graph import Leaf
from guerdon.rewards.interface import Reward, State

LOGGER = logging.getLogger(__name__)


class TraceScorer:
    """What ``as_verifiers`` gives: ``async (task, trace)``, marked as ``@vf.reward``; picklable where the reward is."""

    reward = True  # the marks of @vf.reward, which verifiers looks for
    reward_priority = 0
    _vf_weight = 1.0

    def __init__(self, bound: Bound, invalid: Invalid) -> None:
        self.bound, self.invalid = bound, checked_invalid(invalid)
        self.__name__ = self.__qualname__ = bound.__name__

    async def __call__(self, task: Any, trace: Any) -> Mapping[str, float]:
        """Record the terms with their weights and the components on the trace; what is returned is recorded by
        verifiers. Raises RewardError (on the trace: a TaskError, the reward not scored) as ``invalid`` says."""
        answer, found = (await asyncio.to_thread(evaluate, self.bound, [task], [trace]))[0]
        return record(trace, self.__name__, answer, found, self.invalid)


def as_verifiers(reward: Reward, state: State | None = None, *, invalid: Invalid = "raise") -> TraceScorer:
    """The reward for a v1 Task, as an attribute of the class or as a plugged function::

        class MathTask(vf.Task[MathData]):
            score = as_verifiers(0.8 * correct + 0.2 * brief)

    Every term of a weighted sum is a reward of the trace with its own weight, so ``trace.reward`` is this reward; a
    term that does not apply is None there. Any other reward is one. Components (leaves) that are no term are metrics.
    The reward reads the task's prompt, the last reply, and as columns the task's other fields and 'messages'.

    invalid: of a row without a valid reward: 'raise' leaves it unscored and the trace an error, the only answer that
    verifiers itself keeps apart from a number. Raises NeedsError where the reward needs its group: see
    ``score_traces``.
    """
    refuse_group(reward, "a verifiers Task", "call score_traces(reward) in Env.finalize or in the trainer")
    return TraceScorer(bind(reward, state), invalid)


class GroupScorer:
    """What ``score_traces`` gives: ``async (traces)``; picklable where the reward is."""

    def __init__(self, bound: Bound, invalid: Invalid) -> None:
        self.bound, self.invalid = bound, checked_invalid(invalid)
        self.__name__ = self.__qualname__ = bound.__name__

    async def __call__(self, traces: Sequence[Any]) -> None:
        """Record the rewards of these traces. Raises RewardError after the valid ones are recorded, where one is
        invalid and ``invalid`` is 'raise'; that one stays None."""
        answers = await asyncio.to_thread(evaluate, self.bound, [t.task.data for t in traces], traces)
        errors = []
        for trace, (answer, found) in zip(traces, answers, strict=True):
            try:
                for name, value in record(trace, self.__name__, answer, found, self.invalid).items():
                    trace.record_reward(name, value)
            except RewardError as error:
                trace.rewards[self.__name__] = None
                errors.append(error)
        if errors:
            raise errors[0]


def score_traces(reward: Reward, state: State | None = None, *, invalid: Invalid = "raise") -> GroupScorer:
    """``async (traces) -> None`` for rewards that need their group: ``await scorer(episode.traces)`` in Env.finalize,
    or over a trainer's group of episodes. Records as ``as_verifiers`` does; traces of one prompt are one group."""
    return GroupScorer(bind(reward, state), invalid)


def evaluate(bound: Bound, tasks: Sequence[Any], traces: Sequence[Any]) -> list[tuple[Answer, list[Term]]]:
    """Each trace's answer, and its terms with one answer each."""
    fields = [{k: v for k, v in task if k != "prompt"} for task in tasks]
    names = dict.fromkeys(k for f in fields for k in f)
    held: dict[str, list[Any]] = {k: [f.get(k) for f in fields] for k in names}
    held["messages"] = [[plain(m) for m in t.messages] for t in traces]
    prompts = [p if isinstance(p := task.prompt, str) else [plain(m) for m in p or []] for task in tasks]
    done = bound.evaluation(prompts, [t.last_reply for t in traces], held)
    found = terms(done)
    return [(a, [replace(t, answers=[t.answers[i]]) for t in found]) for i, a in enumerate(read(done))]


def record(trace: Any, name: str, answer: Answer, found: Sequence[Term], invalid: Invalid) -> dict[str, float]:
    """Write terms and components on the trace; gives what is to be recorded with weight 1. Raises RewardError."""
    leaves = {t.name for t in found if t.leaf}
    trace.metrics.update({name: value for name, value in answer.components.items() if name not in leaves})
    if answer.value is None or (len(found) == 1 and found[0].weight == 1.0):
        return {name: told(answer, invalid)}
    for term in found:
        value = term.answers[0].value
        if value is None:
            trace.rewards[term.name] = None
        else:
            trace.record_reward(term.name, value, term.weight)
    return {}


def plain(message: Any) -> dict[str, Any]:
    """A message of verifiers as a dict."""
    return dict(message) if isinstance(message, Mapping) else message.model_dump(exclude_none=True)


@dataclass(frozen=True)
class Asked:
    """A reward asked once a rollout by the functions of one Rubric. The answer is kept in the rollout's state, under
    ``key``, beside the completion that it belongs to."""

    bound: Bound
    key: str

    async def __call__(
        self, prompts: Sequence[Any], completions: Sequence[Any], states: Sequence[Any], fields: Sequence[Any]
    ) -> list[tuple[Answer, list[Term]]] | None:
        """Each rollout's answer and terms, None where the reward raises (logged): the host would read 0.0."""
        kept = [s.get(self.key) for s in states]
        if all(k is not None and k[0] is c for k, c in zip(kept, completions, strict=True)):
            return [k[1:] for k in kept]
        texts = [c if isinstance(c, str) else [plain(m) for m in c] for c in completions]
        asked = [p if isinstance(p, str) else [plain(m) for m in p] for p in prompts]
        held = {k: [f.get(k) for f in fields] for k in dict.fromkeys(k for f in fields for k in f)}
        try:
            done = await asyncio.to_thread(self.bound.evaluation, asked, texts, held)
            found = terms(done)
            rows = [(a, [replace(t, answers=[t.answers[i]]) for t in found]) for i, a in enumerate(read(done))]
        except Exception as error:
            LOGGER.error("%s gives no reward: %s", self.bound.__name__, error)
            return None
        for (answer, found), state, completion in zip(rows, states, completions, strict=True):
            state[self.key] = (completion, answer, found)
            if answer.value is None:
                LOGGER.error("%s gives no reward: %s %s", self.bound.__name__, answer.status.name, answer.note)
        return rows


class RubricPart:
    """One function of a Rubric: the whole reward (part None), a term of its sum or a component; picklable where the
    reward is. invalid: what it says where the rollout has no valid reward."""

    def __init__(self, asked: Asked, part: str | None, term: bool, invalid: float, name: str) -> None:
        self.asked, self.part, self.term, self.invalid = asked, part, term, invalid
        self.__name__ = self.__qualname__ = name

    async def __call__(
        self, prompt: Any, completion: Any, state: Any, answer: Any = "", info: Any = None, **columns: Any
    ) -> float:
        """The value for one rollout."""
        columns.pop("parser", None)
        rows = await self.asked([prompt], [completion], [state], [{**columns, "answer": answer, "info": info}])
        return self.invalid if rows is None else self.value(*rows[0])

    def value(self, whole: Answer, found: Sequence[Term]) -> float:
        """Its part of the answer; 0.0 for a part that does not apply to a rollout with a valid reward."""
        if whole.value is None:
            return self.invalid
        if self.part is None:
            return whole.value
        named = {t.name: t.answers[0].value for t in found} if self.term else whole.components
        return named.get(self.part) or 0.0


class GroupPart(RubricPart):
    """A RubricPart asked about all rollouts of a group at once: verifiers knows it by the names of its arguments."""

    async def __call__(  # type: ignore[override]
        self, prompts: Any, completions: Any, states: Any, answers: Any = (), infos: Any = ()
    ) -> list[float]:
        """The value for every rollout of the group."""
        inputs = [s["input"] if isinstance(s.get("input"), Mapping) else {} for s in states]
        own = [{k: v for k, v in i.items() if k not in ("prompt", "example_id", "task")} for i in inputs]
        own = [{**f, "answer": a, "info": i} for f, a, i in zip(own, answers, infos, strict=True)]
        rows = await self.asked(prompts, completions, states, own)
        return [self.invalid] * len(states) if rows is None else [self.value(*r) for r in rows]


def rubric_functions(
    reward: Reward, state: State | None = None, *, invalid: Invalid = "nan"
) -> tuple[list[RubricPart], list[float]]:
    """(funcs, weights) of a Rubric whose weighted total is the reward.

    Of a weighted sum every term is a function with its weight; of any other reward the whole is one function of weight
    1, and its components follow with weight 0: the host's metrics. The host adds weight · value, and 0 · NaN is NaN:
    so a part that does not apply to a rollout with a valid reward says 0.0, which is what it adds.

    invalid: the total of a rollout without a valid reward, or whose scoring raises: 'nan' or a number; 'raise' is
    refused with GuerdonError, since the host turns every exception into 0.0. A reward that needs its group gives
    functions of groups.
    """
    if checked_invalid(invalid) == "raise":
        raise GuerdonError(
            "A Rubric reads an exception as 0.0, so invalid='raise' would be a zero; give 'nan' or a number."
        )
    bound, lost = bind(reward, state), math.nan if isinstance(invalid, str) else float(invalid)
    asked = Asked(bound, f"guerdon/{uuid4().hex}")
    make = GroupPart if group_need(reward) is not None else RubricPart
    summed = weights(bound.reward)
    if summed != {bound.reward.name: 1.0}:
        shares = [lost / (len(summed) * w) if w else 0.0 for w in summed.values()]
        named = zip(summed, names(summed), shares, strict=True)
        return [make(asked, term, True, share, name) for term, name, share in named], list(summed.values())
    leaves = [] if isinstance(bound.reward, Leaf) else list(component_names(bound.reward).values())
    first, *others = names([bound.reward.name, *leaves])
    rest = [make(asked, leaf, False, 0.0, name) for leaf, name in zip(leaves, others, strict=True)]
    return [make(asked, None, False, lost, first), *rest], [1.0] + [0.0] * len(rest)


def as_rubric(reward: Reward, state: State | None = None, *, invalid: Invalid = "nan", **options: Any) -> Any:
    """A ``verifiers.Rubric`` of ``rubric_functions``; options: the Rubric's own (parser). Raises NeedsError where the
    installed verifiers has none (0.4 and later: use ``as_verifiers``)."""
    import verifiers

    if not hasattr(verifiers, "Rubric"):
        raise NeedsError(f"verifiers {verifiers.__version__} has no Rubric any more; use as_verifiers with a v1 Task.")
    funcs, given = rubric_functions(reward, state, invalid=invalid)
    return verifiers.Rubric(funcs=funcs, weights=given, **options)


def names(texts: Iterable[str]) -> list[str]:
    """Python identifiers of texts, each once: verifiers keys metrics by ``__name__``."""
    out: list[str] = []
    for text in map(identifier, texts):
        tried, count = text, 2
        while tried in out:
            tried, count = f"{text}_{count}", count + 1
        out.append(tried)
    return out
