"""Stable-Baselines3 behind a reward: its own training runs, its logs and its replay buffers."""

import warnings
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from stable_baselines3 import DQN, PPO, SAC
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.env_checker import check_env
from stable_baselines3.common.logger import configure
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from guerdon.checks import check_env_wrapper
from guerdon.errors import GuerdonError, NeedsError
from guerdon.integrations.gymnasium import RewardEnv, wrap_env
from guerdon.integrations.stable_baselines3 import RewardCallback, RewardReplayBuffer, RewardVecEnv, relabel
from guerdon.rewards import Reward, environment_reward, per_transition, potential_shaping
from guerdon.shaping import zscore
from guerdon.shaping.running import running_mean_std
from tests.integrations.line import TERMINATED, TRUNCATED, Line

PLAN = ((3, TERMINATED), (2, TRUNCATED))


def vector(*makers: Any) -> DummyVecEnv:
    return DummyVecEnv([lambda make=make: Monitor(make()) for make in makers])


def lines() -> DummyVecEnv:
    return vector(lambda: Line(PLAN), lambda: Line(((2, TRUNCATED),)))


def ends(before: Any, action: Any, after: Any, terminated: Any, truncated: Any) -> torch.Tensor:
    """Tells everything there is: state before, state reached, how it ended."""
    return before[:, 0] * 1000 + after[:, 0] + 0.1 * terminated + 0.2 * truncated


def test_the_reward_sees_transitions_as_they_were() -> None:
    """SB3 resets within the step: the state reached is terminal_observation; time-outs are not terminations
    (SB3#284, #633; anchors 1, 2)."""
    venv = RewardVecEnv(lines(), per_transition(ends))
    venv.seed(0)
    venv.reset()
    rewards = np.array([venv.step(np.zeros(2, dtype=int))[1] for _ in range(5)])
    np.testing.assert_allclose(rewards[:, 0], [1.0, 1002.0, 2003.1, 100101.0, 101102.2], rtol=1e-6)
    np.testing.assert_allclose(rewards[:, 1], [1.0, 1002.2, 100101.0, 101102.2, 200201.0], rtol=1e-6)
    assert rewards.dtype == np.float32


def test_infos_keep_the_environments_own_reward_and_monitors_its_return() -> None:
    """imitation#336: what is gathered behind a learned reward still carries the environment's, by name; rl-zoo#454:
    every term by name."""
    venv = RewardVecEnv(lines(), environment_reward * -1.0 + 0.5 * per_transition(ends, "told"))
    venv.seed(0)
    venv.reset()
    for _ in range(3):
        _, rewards, _, infos = venv.step(np.array([1, 2]))
    assert infos[0]["original_env_rew"] == 3.0 and infos[0]["action"] == 1 and infos[1]["action"] == 2
    assert infos[0]["episode"]["r"] == 6.0  # Monitor below: 1 + 2 + 3
    assert infos[0]["rewards"]["sum/environment"] == 3.0
    assert infos[0]["rewards"]["sum"] == rewards[0] == pytest.approx(-3.0 + 0.5 * 2003.1)
    assert infos[0]["wrapped_episode"]["l"] == 3 and "wrapped_episode" not in infos[1]
    assert infos[0]["wrapped_episode"]["r"] == pytest.approx(-6.0 + 0.5 * (1.0 + 1002.0 + 2003.1))


def test_changing_the_returned_rewards_changes_nothing_else() -> None:
    """PPO adds γ V(s′) to the returned array at time-outs (#633): infos, sums and the environment's own array stay."""
    venv = RewardVecEnv(lines(), environment_reward + 1.0)
    venv.seed(0)
    venv.reset()
    _, rewards, _, _ = venv.step(np.zeros(2, dtype=int))
    rewards += 1e6
    _, rewards, _, infos = venv.step(np.zeros(2, dtype=int))
    assert rewards.tolist() == [3.0, 3.0] and infos[1]["wrapped_episode"] == {"r": 5.0, "l": 2}
    for _ in range(2):
        _, _, _, infos = venv.step(np.zeros(2, dtype=int))
    assert infos[1]["wrapped_episode"] == {"r": 102.0 + 103.0, "l": 2}  # nothing of the first episode


def test_statistics_count_every_transition_once_and_rest_in_evaluation() -> None:
    venv = RewardVecEnv(lines(), environment_reward.pipe(zscore("running")))
    venv.seed(0)
    venv.reset()
    paid = []
    for _ in range(6):
        paid += [info["original_env_rew"] for info in venv.step(np.zeros(2, dtype=int))[3]]
    moments = venv.reward_state[""]["environment"]["0"]
    assert float(moments["count"]) == 12.0
    assert running_mean_std(moments) == pytest.approx((np.mean(paid), np.std(paid, ddof=1)), rel=1e-9)
    venv.training = False
    venv.step(np.zeros(2, dtype=int))
    assert venv.reward_state[""]["environment"]["0"] is moments
    other = RewardVecEnv(lines(), venv.scorer.reward, state=venv.reward_state, training=False)
    other.reset()
    other.step(np.zeros(2, dtype=int))
    assert other.reward_state is venv.reward_state


def test_wrong_stacks_are_refused() -> None:
    """imitation 838ccca9 (anchors 7); and off-policy buffers take rewards from below a VecNormalize, so a reward above
    one would silently be skipped."""
    with pytest.raises(GuerdonError, match="put VecNormalize around it"):
        RewardVecEnv(VecNormalize(vector(Line)), environment_reward)
    with pytest.raises(GuerdonError, match="already"):
        RewardVecEnv(RewardVecEnv(vector(Line), environment_reward), environment_reward)
    with pytest.raises(GuerdonError, match="already"):
        RewardVecEnv(vector(lambda: RewardEnv(Line(), environment_reward)), environment_reward)


def test_the_public_checker_accepts_the_wrapper() -> None:
    def pendulums() -> DummyVecEnv:
        return vector(*[lambda n=n: gym.make("Pendulum-v1", max_episode_steps=n) for n in (9, 7)])

    found = check_env_wrapper(lambda given: (wrap_env(lines(), given), lines()), steps=24)
    assert [name for name, outcome in found.items() if outcome != "passed"] == ["spec_rebuilds"]
    found = check_env_wrapper(lambda given: (wrap_env(pendulums(), given), pendulums()), steps=24)
    assert [name for name, outcome in found.items() if outcome != "passed"] == ["spec_rebuilds"]


@pytest.mark.parametrize("name", ["CartPole-v1", "Pendulum-v1"])
def test_their_own_checker_accepts_the_wrapped_environment(name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check_env(RewardEnv(gym.make(name), environment_reward - 1.0), skip_render_check=True)


def upright(before: Any, action: Any, after: Any, terminated: Any, truncated: Any) -> torch.Tensor:
    return 1.0 - after[:, 2].abs() - 5.0 * terminated


@pytest.fixture
def _one_thread() -> Any:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.usefixtures("_one_thread")
def test_ppo_learns_behind_the_wrapper_and_logs_both_returns() -> None:
    """anchors, SB3: ep_rew_mean stays the environment's return, ours stands beside it under VecNormalize, too."""
    inner = RewardVecEnv(vector(*[lambda: gym.make("CartPole-v1")] * 4), environment_reward + per_transition(upright))
    model = PPO("MlpPolicy", VecNormalize(inner), n_steps=64, n_epochs=2, seed=0, device="cpu")
    logger = configure(None, [])
    model.set_logger(logger)
    kept: list[dict[str, Any]] = []
    logger.dump = lambda step=0: kept.append(dict(logger.name_to_value))  # type: ignore[method-assign]
    model.learn(512, callback=RewardCallback())
    last = kept[-1]
    assert last["rollout/ep_rew_mean"] == pytest.approx(last["rollout/ep_len_mean"])  # the environment pays 1 a step
    ours, length = last["rollout/ep_rew_wrapped_mean"], last["rollout/ep_len_mean"]
    assert 1.9 * length - 5.0 < ours + 0.3 * length and ours < 2.0 * length - 5.0
    assert last["rewards/sum/environment"] == 1.0 and 0.0 < last["rewards/sum/upright"] < 1.0
    assert last["rewards/sum"] == pytest.approx(1.0 + last["rewards/sum/upright"], abs=1e-5)


@pytest.mark.usefixtures("_one_thread")
@pytest.mark.parametrize("vectorised", [False, True])
def test_ppo_collects_our_reward_from_what_wrap_env_gives(vectorised: bool) -> None:
    bare = vector(lambda: gym.make("CartPole-v1")) if vectorised else gym.make("CartPole-v1")
    model = PPO("MlpPolicy", wrap_env(bare, 3.0 * environment_reward), n_steps=64, n_epochs=1, seed=0, device="cpu")
    model.learn(128)
    assert model.num_timesteps == 128
    assert (model.rollout_buffer.rewards == 3.0).all()  # the environment pays 1 a step; no time-out in 128 steps


@pytest.mark.usefixtures("_one_thread")
@pytest.mark.parametrize("normalised", [False, True])
def test_sac_trains_on_our_reward_and_its_buffer_can_be_relabelled(normalised: bool) -> None:
    """The buffer holds our reward with and without VecNormalize around; relabelling reads actions in the environment's
    units (they are stored scaled to [−1, 1]) and keeps the environment's reward."""
    given = environment_reward + per_transition(lambda s, a, n, te, tr: a[:, 0] + 10.0 * n[:, 0], "felt")
    inner = RewardVecEnv(vector(lambda: gym.make("Pendulum-v1", max_episode_steps=50)), given)
    model = SAC(
        "MlpPolicy",
        VecNormalize(inner) if normalised else inner,
        learning_starts=150,
        train_freq=8,
        buffer_size=2000,
        policy_kwargs={"net_arch": [16]},
        replay_buffer_class=RewardReplayBuffer,
        seed=0,
        device="cpu",
    )
    model.learn(400, callback=RewardCallback(), log_interval=1000)
    buffer = model.replay_buffer
    assert isinstance(buffer, RewardReplayBuffer) and buffer.pos == 400
    acted, reached = 2.0 * buffer.actions[:400, :, 0], buffer.next_observations[:400, :, 0]
    felt = acted + 10.0 * reached
    np.testing.assert_allclose(buffer.rewards[:400], buffer.original_rewards[:400] + felt, rtol=1e-4, atol=1e-4)
    assert buffer.timeouts.sum() == 8 and np.abs(buffer.original_rewards[:400]).max() <= 16.3
    old = relabel(buffer, per_transition(lambda s, a, n, te, tr: 100.0 * a[:, 0] + te + 2.0 * tr), batch=64)
    np.testing.assert_allclose(old, buffer.original_rewards[:400] + felt, rtol=1e-4, atol=1e-4)
    expected = 100.0 * acted + 2.0 * buffer.timeouts[:400]
    np.testing.assert_allclose(buffer.rewards[:400], expected, rtol=1e-4, atol=1e-4)
    relabel(buffer, environment_reward)
    assert (buffer.rewards == buffer.original_rewards).all()
    model.train(2, batch_size=32)


@pytest.mark.usefixtures("_one_thread")
def test_dqn_trains_on_our_reward() -> None:
    venv = RewardVecEnv(vector(lambda: gym.make("CartPole-v1")), environment_reward + per_transition(upright))
    model = DQN("MlpPolicy", venv, learning_starts=100, buffer_size=1000, seed=0, device="cpu")
    model.learn(500)
    buffer = model.replay_buffer
    assert buffer is not None
    expected = 2.0 - np.abs(buffer.next_observations[:500, :, 2]) - 5.0 * buffer.dones[:500]
    np.testing.assert_allclose(buffer.rewards[:500], expected, rtol=1e-5, atol=1e-5)


def filled(cls: type[ReplayBuffer], steps: int, size: int, **options: Any) -> ReplayBuffer:
    """A buffer with ``steps`` steps of two lines in it."""
    venv = RewardVecEnv(lines(), environment_reward)
    buffer = cls(size, venv.observation_space, venv.action_space, n_envs=2, device="cpu", **options)
    venv.seed(0)
    now = venv.reset()
    for _ in range(steps):
        reached, rewards, dones, infos = venv.step(np.ones(2, dtype=int))
        after = reached.copy()
        for i in np.flatnonzero(dones):
            after[i] = infos[i]["terminal_observation"]
        buffer.add(now, after, np.ones((2, 1)), rewards, dones, infos)
        now = reached
    return buffer


def relabelled(buffer: ReplayBuffer, reward: Reward, **options: Any) -> list[list[float]]:
    relabel(buffer, reward, **options)
    return buffer.rewards.T.tolist()


def test_relabelling_tells_ends_apart_in_a_part_of_a_buffer_and_in_a_full_one() -> None:
    """anchors 5, SB3#284: a potential relabelled into the buffer does not vanish at time-outs."""
    buffer = filled(ReplayBuffer, 5, 16)
    first, second = relabelled(buffer, potential_shaping(lambda s: s[:, 0], 0.5), batch=3)
    assert first == [0.5, 0.0, -2.0, -49.5, -50.0] + [0.0] * 3  # 2 → 3 terminated; 101 → 102 timed out
    assert second == [0.5, 0.0, -49.5, -50.0, -99.5] + [0.0] * 3
    full = filled(RewardReplayBuffer, 5, 8)  # four steps of two environments: the fifth overwrites the first
    assert relabelled(full, environment_reward + 1.0) == [[103.0, 3.0, 4.0, 102.0], [202.0, 3.0, 102.0, 103.0]]


def test_relabelling_refuses_what_the_buffer_does_not_know() -> None:
    buffer = filled(ReplayBuffer, 3, 16)
    before = buffer.rewards.copy()
    with pytest.raises(NeedsError, match="RewardReplayBuffer"):
        relabel(buffer, environment_reward)
    assert (buffer.rewards == before).all()
    blind = filled(ReplayBuffer, 3, 16, handle_timeout_termination=False)
    with pytest.raises(NeedsError, match="handle_timeout_termination"):
        relabel(blind, per_transition(ends))
    plain = RewardReplayBuffer(4, Line.observation_space, Line.action_space, device="cpu")
    with pytest.raises(NeedsError, match="original_env_rew"):
        plain.add(np.zeros((1, 1)), np.zeros((1, 1)), np.zeros((1, 1)), np.zeros(1), np.zeros(1), [{}])
