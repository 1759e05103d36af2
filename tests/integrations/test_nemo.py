"""Rewards in NeMo-RL and NeMo Gym, called as their rollouts call them (neither installs beside the rest)."""

import math
import pickle
import sys
import types

import pytest
import torch

from guerdon.errors import NeedsError, RewardError
from guerdon.integrations.nemo import EnvironmentReturn, as_nemo_env, nemo_gym_verify
from guerdon.rewards import reward
from guerdon.rewards.rules.match import Match
from guerdon.shaping import zscore


@reward
def brief(responses):
    """1 of at most four characters."""
    return [float(len(r) <= 4) for r in responses]


@reward
def turns_said(messages):
    """Messages of the response."""
    return [float(len(m)) for m in messages]


MIXED = 0.75 * Match() + 0.25 * brief


def log(said, asked="2+2?"):
    """A message log of one turn."""
    return [
        {"role": "system", "content": "s"},
        {"role": "user", "content": asked},
        {"role": "assistant", "content": said},
    ]


LOGS = [log("four"), log("five"), log("twenty")]
GOLD = [{"ground_truth": "four"}, {"ground_truth": "four"}, {"ground_truth": "four", "level": 2}]


def calculate_rewards(env, logs, metadata):
    """NeMo-RL's reading of a step: (total [B], {component: [B]}), by the positions of the tuple."""
    _, _, _, rewards, terminateds, _ = env.step(logs, metadata)
    assert terminateds.bool().all()
    if isinstance(rewards, dict):
        assert all(k.startswith("reward/") for k in rewards)
        return sum(rewards.values()), rewards
    stacked = torch.stack([rewards[i] for i in range(len(logs))])
    return torch.zeros(len(logs)).index_put((torch.arange(len(logs)),), stacked, accumulate=True), {}


def test_a_step_gives_one_reward_a_row():
    given = as_nemo_env(MIXED).step(LOGS, GOLD)
    assert isinstance(given, EnvironmentReturn)
    assert given._fields == ("observations", "metadata", "next_stop_strings", "rewards", "terminateds", "answers")
    assert given.rewards.tolist() == [1.0, 0.25, 0.0]
    assert given.terminateds.tolist() == [True] * 3
    assert given.metadata == GOLD
    assert given.next_stop_strings == [None] * 3
    assert [o["role"] for o in given.observations] == ["environment"] * 3
    assert given.answers is None
    assert as_nemo_env(MIXED).step(LOGS, GOLD, return_extracted_answer=True).answers == [None] * 3
    assert as_nemo_env(brief).step([], []).rewards.shape == (0,)


def test_one_score_a_sample_however_many_answers_it_holds():
    """NeMo-RL c112cfe15: a sample without an extractable answer shifted the scores of all after it."""
    logs = [log("four four four"), log(""), log("four"), log("no answer at all")]
    rewards = as_nemo_env(Match(how="contains")).step(logs, [{"ground_truth": "four"}] * 4).rewards
    assert rewards.tolist() == [1.0, 0.0, 1.0, 0.0]


def test_rewards_are_float32_where_the_reward_counts_in_whole_numbers():
    """slime fb79de1bc: whole-number rewards gave a tensor of integers, on which a mean fails."""

    @reward
    def whole(responses):
        return [len(r) for r in responses]

    assert as_nemo_env(whole).step(LOGS, GOLD).rewards.dtype == torch.float32
    parts = as_nemo_env(2 * whole + brief, components=True).step(LOGS, GOLD).rewards
    assert {v.dtype for v in parts.values()} == {torch.float32}
    assert parts["reward/whole"].tolist() == [8.0, 8.0, 12.0]


def test_a_failure_is_not_a_zero():
    """NeMo-RL#431: a reward that failed became 0."""
    gold = [{"ground_truth": "four"}, {"ground_truth": None}, {}]
    with pytest.raises(RewardError, match=r"Row 1 .*NOT_APPLICABLE"):
        as_nemo_env(Match()).step(LOGS, gold)
    told = as_nemo_env(Match(), invalid="nan").step(LOGS, gold)
    assert told.rewards.isnan().tolist() == [False, True, True]
    assert told.observations[1]["content"] == "Environment: no reward"
    assert as_nemo_env(Match(), invalid=-1.0).step(LOGS, gold).rewards.tolist() == [1.0, -1.0, -1.0]


def test_components_add_up_to_the_reward():
    total, parts = calculate_rewards(as_nemo_env(MIXED, components=True), LOGS, GOLD)
    assert sorted(parts) == ["reward/brief", "reward/match"]
    assert parts["reward/match"].tolist() == [0.75, 0.0, 0.0]
    assert parts["reward/brief"].tolist() == [0.25, 0.25, 0.0]
    assert total.tolist() == calculate_rewards(as_nemo_env(MIXED), LOGS, GOLD)[0].tolist() == [1.0, 0.25, 0.0]
    product, parts = calculate_rewards(as_nemo_env(Match() * brief, components=True), LOGS, GOLD)
    assert product.tolist() == parts["reward/product"].tolist() == [1.0, 0.0, 0.0]


def test_a_component_that_does_not_apply_follows_its_own_policy():
    gold = [{"ground_truth": "four"}, {"level": None}, {}]
    with pytest.raises(RewardError, match="'match' has no value"):
        as_nemo_env(MIXED, components=True).step(LOGS, gold)
    total, parts = calculate_rewards(as_nemo_env(MIXED, components=True, missing=0.0), LOGS, gold)
    assert total.tolist() == [1.0, 0.25, 0.0]
    lost = 0.5 * Match() + 0.5 * Match("level")
    total, parts = calculate_rewards(as_nemo_env(lost, components=True, missing=0.0, invalid=-1.0), LOGS, gold)
    assert total.tolist() == [0.5, -1.0, -1.0]
    assert sorted(parts) == ["reward/match", "reward/match#2"]


def test_the_response_begins_with_the_assistant():
    several = [*log("let me see"), {"role": "environment", "content": "4"}, {"role": "assistant", "content": "four"}]
    given = as_nemo_env(Match() + turns_said).step([several], [{"ground_truth": "four"}])
    assert given.rewards.tolist() == [4.0]


def test_groups_are_scored_only_where_a_step_sees_them():
    grouped = brief.pipe(zscore("prompt", correction=0))
    with pytest.raises(NeedsError, match="grouped=True"):
        as_nemo_env(grouped)
    logs = [log("four"), log("eleven"), log("two", "1+1?"), log("two", "1+1?")]
    rewards = as_nemo_env(grouped, grouped=True).step(logs, [None] * 4).rewards
    torch.testing.assert_close(rewards, torch.tensor([1.0, -1.0, 0.0, 0.0]), atol=1e-5, rtol=0)


def test_metrics_count_what_is_not_finite():
    batch = {"rewards": torch.tensor([1.0, math.nan, 3.0]), "reward/match": torch.tensor([1, 1, 0]), "text": ["a"]}
    same, metrics = as_nemo_env(Match()).global_post_process_and_metrics(batch)
    assert same is batch
    assert metrics["match/rewards/mean"] == 2.0
    assert metrics["match/rewards/std"] == 1.0
    assert metrics["match/rewards/num_invalid"] == 1.0
    assert metrics["match/reward/match/mean"] == pytest.approx(2 / 3)
    assert (metrics["match/rewards/min"], metrics["match/rewards/max"]) == (1.0, 3.0)


def test_it_pickles_and_an_actor_is_made_of_its_settings(monkeypatch):
    env = as_nemo_env(MIXED, components=True, missing=0.0)
    assert torch.equal(
        pickle.loads(pickle.dumps(env)).step(LOGS, GOLD).rewards["reward/match"], torch.tensor([0.75, 0.0, 0.0])
    )

    class Remote:
        def __init__(self, cls, options=None):
            self.cls, self.settings = cls, options

        def options(self, **options):
            return Remote(self.cls, options)

        def remote(self, **fields):
            return self.settings, self.cls(**fields)

    ray = types.ModuleType("ray")
    ray.remote = Remote
    monkeypatch.setitem(sys.modules, "ray", ray)
    assert env.actor(num_cpus=1) == ({"num_cpus": 1}, env)
    assert env.actor() == (None, env)
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(NeedsError, match="Ray"):
        env.actor()


def test_nemos_own_return_type_is_used_where_it_is_installed(monkeypatch):
    at = "nemo_rl.environments.interfaces"
    for i in range(1, 4):
        name = ".".join(at.split(".")[:i])
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    theirs = type("EnvironmentReturn", (EnvironmentReturn,), {})
    sys.modules[at].EnvironmentReturn = theirs
    assert type(as_nemo_env(MIXED).step(LOGS, GOLD)) is theirs


def body(said, **fields):
    """A verify request as its fields."""
    message = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": said}]}
    asked = {"input": [{"role": "user", "content": "2+2?"}]}
    response = {"id": "r", "output": [{"type": "reasoning", "summary": []}, message]}
    return {"responses_create_params": asked, "response": response, **fields}


class Request:
    """A verify request as the model that a resources server gets."""

    def __init__(self, **fields):
        self.fields = fields

    def model_dump(self):
        return self.fields


def test_a_gym_verify_response_adds_up():
    """NeMo-RL refuses a response whose components do not add up to its reward."""
    verify = nemo_gym_verify(MIXED)
    given = verify(Request(**body("four", expected_answer="four")))
    assert given["reward"] == 1.0
    assert given["reward_components"] == {"match": 0.75, "brief": 0.25}
    assert given["expected_answer"] == "four"
    assert given["response"]["id"] == "r"
    assert pickle.loads(pickle.dumps(verify))(body("five", expected_answer="four"))["reward"] == 0.25
    assert nemo_gym_verify(Match())(body("five", answer="five"))["reward_components"] == {"match": 1.0}


def test_an_invalid_verify_follows_the_policy():
    with pytest.raises(RewardError, match="NOT_APPLICABLE"):
        nemo_gym_verify(Match())(body("four", expected_answer=None))
    assert nemo_gym_verify(Match(), invalid=-2)(body("four", expected_answer=None))["reward"] == -2.0
    assert nemo_gym_verify(MIXED, missing=0)(body("four", expected_answer=None))["reward"] == 0.25
    with pytest.raises(NeedsError, match="NeMo Gym scores one row"):
        nemo_gym_verify(brief.pipe(zscore("batch")))
