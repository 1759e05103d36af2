"""Rewards as slime calls them. It is not installed here; ``Sample`` has the fields of its type that a reward reads, and
``_rollout`` awaits the function as its rollouts do."""

import asyncio
import math
import pickle
import threading
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from guerdon.errors import NeedsError, RewardError
from guerdon.integrations.slime import as_slime
from guerdon.rewards import bind, gather
from guerdon.rewards.rules import Length, Match
from guerdon.shaping import zscore
from tests.integrations.rewards_of_text import even, length  # type: ignore[import-not-found,unused-ignore]


@dataclass
class Sample:
    """slime.utils.types.Sample, as far as rewards read it."""

    prompt: str | list[dict[str, str]] = ""
    response: str = ""
    label: Any = None
    reward: float | dict[str, Any] | None = None
    metadata: dict = field(default_factory=dict)

    def get_reward_value(self, args):
        """As slime reads it before training."""
        return self.reward if not args.reward_key else self.reward[args.reward_key]


def _args(reward_key=None):
    return SimpleNamespace(reward_key=reward_key, custom_rm_path="module.rm", group_rm=False)


def _rollout(rm, samples, args=None, group=False):
    """Rewards onto samples: one call a sample, all at once, or one call for the group."""

    async def play():
        given = args or _args()
        if group:
            rewards = await rm(given, samples)
        else:
            rewards = await asyncio.gather(*(rm(given, s) for s in samples))
        for sample, value in zip(samples, rewards, strict=True):
            sample.reward = value

    asyncio.run(play())
    return samples


def test_samples_asked_about_at_once_each_get_their_own():
    rm = as_slime(Length("characters"))
    samples = _rollout(rm, [Sample("p", "x" * i) for i in range(100)])
    assert [s.get_reward_value(_args()) for s in samples] == [float(i) for i in range(100)]
    assert all(type(s.reward) is float for s in samples)
    assert rm.batcher.calls < 100  # row-wise: joined


def test_labels_and_metadata_are_columns():
    total = Match(column="gold") + 2 * Match(column="style", how="contains")
    sample = Sample([{"role": "user", "content": "?"}], "plain yes", "plain yes", metadata={"style": "plain"})
    assert _rollout(as_slime(total, label="gold"), [sample])[0].reward == 3.0
    with pytest.raises(NeedsError, match=r"'style'.*hold \[\]"):
        _rollout(as_slime(total, label="gold"), [Sample("p", "r", "r")])


def test_a_group_is_scored_whole_and_one_sample_of_it_refused():
    z = Length("characters").pipe(zscore("prompt"))
    texts = ["a", "abc", "ab", "abcdef"]
    samples = _rollout(as_slime(z), [Sample("p", t) for t in texts], group=True)
    assert [s.reward for s in samples] == pytest.approx(bind(z)(["p"] * 4, texts))
    with pytest.raises(NeedsError, match="--group-rm"):
        _rollout(as_slime(z), [Sample("p", "a")])
    assert _rollout(as_slime(z), [], group=True) == []


def test_components_for_the_reward_key():
    rm = as_slime(length + even, components=True)
    (sample,) = _rollout(rm, [Sample("p", "two words", 0)], _args("reward"))
    assert sample.reward == {"length": 2.0, "even": 1.0, "reward": 3.0}
    assert sample.get_reward_value(_args("reward")) == 3.0
    assert sample.get_reward_value(_args("even")) == 1.0
    (missing,) = _rollout(rm, [Sample("p", "two words", None)])
    assert missing.reward["reward"] == 2.0 and math.isnan(missing.reward["even"])


def test_an_invalid_reward_is_never_zero_or_none():
    sample = Sample("p", "two words", None)
    with pytest.raises(RewardError, match="NOT_APPLICABLE"):
        _rollout(as_slime(even), [sample])
    assert sample.reward is None
    assert math.isnan(_rollout(as_slime(even, invalid="nan"), [sample])[0].reward)
    assert _rollout(as_slime(even, invalid=-2), [sample])[0].reward == -2.0


def test_scoring_leaves_the_event_loop_free():
    gate = threading.Event()

    class Waiting(type(Length())):  # a rule that waits until the loop has turned
        def score(self, samples, state, context):
            assert gate.wait(5)
            return super().score(samples, state, context)

    async def play():
        task = asyncio.create_task(as_slime(Waiting("characters"))(_args(), Sample("p", "abc")))
        await asyncio.sleep(0.01)
        assert not task.done()
        gate.set()
        return await task

    assert asyncio.run(play()) == 3.0


def test_rewards_become_the_tensor_that_slime_makes_of_them():
    samples = _rollout(as_slime(Length("words")), [Sample("p", "a b"), Sample("p", "")])
    assert torch.tensor([s.get_reward_value(_args()) for s in samples], dtype=torch.float).tolist() == [2.0, 0.0]


def test_several_channels_are_refused_and_the_function_pickles():
    with pytest.raises(NeedsError, match="combine"):
        as_slime(gather(Length(), Match()))
    again = pickle.loads(pickle.dumps(as_slime(length, invalid=0.0)))
    assert _rollout(again, [Sample("p", "a b c")])[0].reward == 3.0
