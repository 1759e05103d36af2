"""Rewards in open-instruct: subclasses of its ``VerifierFunction``, which it finds by themselves."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from guerdon.integrations.hosts import Invalid, checked_invalid, told
from guerdon.rewards.bind import Answer, Bound, bind
from guerdon.rewards.interface import Reward, State


@dataclass
class VerificationResult:
    """What open-instruct's class of this name holds, for where it is not installed."""

    score: float
    cost: float = 0.0
    reasoning: str | None = None


class Verifier:
    """The stand-in for ``VerifierFunction`` where open-instruct is not installed."""

    def __init__(self, name: str, weight: float = 1.0, verifier_config: Any = None) -> None:
        self.name, self.weight, self.verifier_config = name, weight, verifier_config


def as_open_instruct(
    reward: Reward,
    state: State | None = None,
    *,
    name: str | None = None,
    label: str = "answer",
    weight: float = 1.0,
    invalid: Invalid = "raise",
    base: type | None = None,
    result: type | None = None,
) -> type:
    """The reward as a class of verifiers; keep a reference to it, since open-instruct looks through the subclasses of
    ``VerifierFunction`` that are alive when training starts, and makes one of each.

    name: what rows name in their column 'dataset', in any case; the reward's by default. label: the column under which
    the reward finds the ground truth (beside 'label'). It also finds 'tokenized_prediction' and 'rollout_state'; the
    prompt is the query ('' where the host gives none). ``reasoning`` tells the components and the reward's note.

    invalid: what the host is told where there is no reward: 'raise' ends its step, 'nan' reaches its sum, a number is
    yours to choose. It expects scores between 0 and 1, multiplies them by ``weight`` and its own
    ``verification_reward``. base, result: the classes to build on, open-instruct's own where it is installed.

    Raises GuerdonError where ``invalid`` is none of these.
    """
    bound, policy = bind(reward, state, name=name), checked_invalid(invalid)
    parent, outcome = (base, result) if base and result else _classes(base, result)
    called, column = name or bound.reward.name, label

    class RewardVerifier(parent):  # type: ignore[misc, valid-type]
        """One reward as a verifier."""

        def __init__(self, verifier_config: Any = None) -> None:
            super().__init__(called, weight=weight, verifier_config=verifier_config)

        def __reduce__(self) -> tuple[Any, ...]:
            options = {"label": column, "weight": weight, "invalid": policy, "base": base, "result": result}
            return _instance, (bound.reward, bound.state, {"name": called, **options}, self.verifier_config)

        def __call__(
            self,
            tokenized_prediction: Sequence[int],
            prediction: str,
            label: Any,
            query: str | None = None,
            rollout_state: dict[str, Any] | None = None,
        ) -> Any:
            """The reward of one prediction."""
            answer = _answer(bound, column, tokenized_prediction, prediction, label, query, rollout_state)
            return outcome(score=told(answer, policy, "This prediction"), reasoning=_reasoning(answer))

        async def async_call(self, *given: Any, **named: Any) -> Any:
            """The same in a thread."""
            return await asyncio.to_thread(self, *given, **named)

    RewardVerifier.__name__ = RewardVerifier.__qualname__ = bound.__name__
    return RewardVerifier


def _answer(
    bound: Bound, column: str, ids: Any, prediction: str, label: Any, query: str | None, rollout_state: Any
) -> Answer:
    columns = {"label": label, column: label, "tokenized_prediction": ids, "rollout_state": rollout_state}
    return bound.answer(query or "", prediction, columns)


def _reasoning(answer: Answer) -> str | None:
    parts = [f"{k}: {'none' if v is None else f'{v:g}'}" for k, v in answer.components.items()]
    return ", ".join([*parts, *([answer.note] if answer.note else [])]) or None


def _classes(base: type | None, result: type | None) -> tuple[type, type]:
    try:
        from open_instruct import ground_truth_utils as host
    except ImportError:
        return base or Verifier, result or VerificationResult
    return base or host.VerifierFunction, result or host.VerificationResult


def _instance(reward: Reward, state: State, options: dict[str, Any], verifier_config: Any) -> Any:
    return as_open_instruct(reward, state, **options)(verifier_config)
