"""Verifiers for open-instruct, called by its own keywords through a stand-in for its base class (it does not install
here)."""

import asyncio
import dataclasses
import math
import pickle
from abc import ABC, abstractmethod
from typing import Any

import pytest

from guerdon.errors import GuerdonError, RewardError
from guerdon.integrations.open_instruct import as_open_instruct
from guerdon.rewards import reward
from tests.integrations.rewards_of_text import even, flaky, length


@dataclasses.dataclass
class Result:
    """VerificationResult's fields."""

    score: float
    cost: float = 0.0
    reasoning: str | None = None


class VerifierFunction(ABC):
    """open_instruct.ground_truth_utils.VerifierFunction: what it stores, and what is abstract."""

    def __init__(self, name: str, weight: float = 1.0, verifier_config: Any = None) -> None:
        self.name, self.weight, self.verifier_config = name, weight, verifier_config

    @classmethod
    def get_config_class(cls) -> type:
        return dict

    @abstractmethod
    def __call__(
        self, tokenized_prediction: Any, prediction: str, label: Any, query: Any = None, rollout_state: Any = None
    ) -> Result: ...


def build_all_verifiers() -> dict[str, Any]:
    """As the host: one of every subclass, by its name in lower case."""
    made = [cls(cls.get_config_class()()) for cls in VerifierFunction.__subclasses__()]
    return {verifier.name.lower(): verifier for verifier in made}


def apply(verifier: Any, prediction: str, label: Any, query: str | None = None) -> Any:
    """As the host: asynchronous, by keyword."""
    call = verifier.async_call(
        tokenized_prediction=[5, 6], prediction=prediction, label=label, query=query, rollout_state=None
    )
    return asyncio.run(call)


def test_the_host_finds_it_and_calls_it() -> None:
    made = as_open_instruct(2 * even + length, name="Even", weight=0.5, base=VerifierFunction, result=Result)
    verifier = build_all_verifiers()["even"]
    assert type(verifier) is made and verifier.weight == 0.5 and verifier.verifier_config == {}
    assert apply(verifier, "a b", 0) == Result(4.0, 0.0, "even: 1, length: 2")
    assert verifier([5], "a b", 1, "?", None) == Result(2.0, 0.0, "even: 0, length: 2")
    assert apply(verifier, "a", None) == Result(1.0, 0.0, "even: none, length: 1")


def test_the_reward_finds_what_the_host_gives() -> None:
    @reward
    def seen(prompts: Any, responses: Any, gold: Any, label: Any, tokenized_prediction: Any, rollout_state: Any) -> Any:
        given = (prompts, responses, gold, label, tokenized_prediction, rollout_state)
        assert given == (["?"], ["a"], ["x"], ["x"], [[5, 6]], [None])
        return [1.0]

    assert apply(as_open_instruct(seen, label="gold")(), "a", "x", query="?").score == 1.0


def test_without_the_host_it_stands_alone_and_its_copies_pickle() -> None:
    verifier = as_open_instruct(even, name="parity", weight=2.0, invalid=-1.0)({"x": 1})
    copy = pickle.loads(pickle.dumps(verifier))
    assert (copy.name, copy.weight, copy.verifier_config) == ("parity", 2.0, {"x": 1})
    assert apply(copy, "a b", 0).score == 1.0 and apply(copy, "a", None).score == -1.0


def test_what_has_no_reward_follows_the_policy() -> None:
    """verifiers' and NeMo's reward failures became 0 (NeMo-RL#431)."""
    with pytest.raises(RewardError, match="NOT_APPLICABLE"):
        apply(as_open_instruct(even)(), "a", None)
    assert math.isnan(apply(as_open_instruct(even, invalid="nan")(), "a", None).score)
    assert apply(as_open_instruct(flaky)(), "a", None).score == 1.0
    with pytest.raises(GuerdonError, match="invalid"):
        as_open_instruct(even, invalid="skip")
