"""Several rewards or levels at once: GDPO, PRIME, turns."""

import math

import pytest
import torch

from guerdon.advantages import (
    gae,
    gdpo,
    group_relative,
    monte_carlo,
    per_channel,
    prime,
    reinforce,
    remax,
    rloo,
    span_relative,
    turn_level,
    whiten,
)
from guerdon.batch import Partition
from guerdon.errors import GuerdonError

NAN = float("nan")
ROOT = math.sqrt(0.5)


def test_gdpo_tells_apart_what_grpo_confuses() -> None:
    """Card 51: (0,1; 0,0) and (0,1; 0,1) are ±0.7071 under GRPO, but ±0.7071 and ±1.4142 before whitening."""
    a = torch.tensor([[0.0, 1.0], [0.0, 0.0]]).double()
    b = torch.tensor([[0.0, 1.0], [0.0, 1.0]]).double()
    pair = Partition.whole(2)
    for rewards in (a, b):
        grpo = group_relative(rewards.sum(0), pair).advantage
        assert grpo.tolist() == pytest.approx([-ROOT, ROOT], abs=2e-4)
    assert gdpo(a, pair, whitening=None).advantage.tolist() == pytest.approx([-ROOT, ROOT], abs=2e-4)
    assert gdpo(b, pair, whitening=None).advantage.tolist() == pytest.approx([-2 * ROOT, 2 * ROOT], abs=4e-4)


def test_gdpo_with_one_channel_is_group_then_batch() -> None:
    reward, ids = torch.randn(1, 12).double(), Partition(torch.arange(12) % 3)
    expected = whiten(group_relative(reward[0], ids).advantage, torch.ones(12, dtype=torch.bool), eps=1e-4)
    torch.testing.assert_close(gdpo(reward, ids).advantage, expected)


def test_gdpo_properties() -> None:
    rewards, ids = torch.randn(3, 12).double(), Partition(torch.arange(12) % 4)
    found = gdpo(rewards, ids, weights=[1.0, 2.0, 0.5])
    assert found.advantage.mean().abs().item() < 1e-12
    moved = gdpo(rewards * torch.tensor([[2.0], [30.0], [0.5]]) + 7.0, ids, weights=[1.0, 2.0, 0.5])
    torch.testing.assert_close(found.advantage, moved.advantage, rtol=0, atol=2e-3)
    constant = torch.cat([rewards, torch.full((1, 12), 0.1).double()])
    with_constant = gdpo(constant, ids, weights=[1.0, 2.0, 0.5, 100.0])
    assert torch.equal(found.advantage, with_constant.advantage)


def test_gdpo_leaves_an_absent_reward_out_of_its_own_channel_only() -> None:
    rewards = torch.tensor([[1.0, 0.0, NAN, 0.0], [0.0, 1.0, 1.0, NAN]])
    ok = ~rewards.isnan()
    found = gdpo(rewards, Partition.whole(4), ok=ok, whitening=None, convention="dr_grpo")
    third = 1 / 3
    expected = [2 * third - 2 * third, -third + third, 0 + third, -third + 0]
    assert found.advantage.tolist() == pytest.approx(expected, abs=1e-6)
    assert bool(found.ok.all())
    failed = gdpo(rewards, Partition.whole(4), ok=ok, usable=torch.tensor([True, True, False, True]))
    assert failed.ok.tolist() == [True, True, False, True]
    assert failed.advantage[2].item() == 0.0


def test_gdpo_over_steps_weighs_long_rows_more() -> None:
    rewards = torch.tensor([[1.0, 0.0]]).double()
    mask = torch.tensor([[True, True, True], [True, False, False]])
    found = gdpo(rewards, Partition.whole(2), whitening="steps", mask=mask, eps=0.0)
    # values v,v,v,−v: mean v/2, unbiased std v
    assert found.advantage[mask].tolist() == pytest.approx([0.5, 0.5, 0.5, -1.5], abs=1e-12)
    assert found.ok.tolist() == mask.tolist()
    with pytest.raises(GuerdonError, match="mask"):
        gdpo(rewards, Partition.whole(2), whitening="steps")
    with pytest.raises(GuerdonError, match="one weight"):
        gdpo(rewards, Partition.whole(2), weights=[1.0, 2.0])


def test_per_channel_keeps_channels_apart() -> None:
    rewards = torch.tensor([[1.0, 0.0, 5.0], [2.0, 4.0, NAN]])
    found = per_channel(rewards, Partition(torch.tensor([0, 0, 1])), ~rewards.isnan(), rloo)
    assert found.advantage.tolist() == [[1.0, -1.0, 0.0], [-2.0, 2.0, 0.0]]
    assert found.ok.tolist() == [[True, True, False], [True, True, False]]


def test_prime_by_hand() -> None:
    """Card 95: the process baseline is the peers' mean *per token*."""
    mask = torch.tensor([[True, True, False], [True, True, True]])
    token = torch.tensor([[1.0, 3.0, NAN], [2.0, 2.0, 5.0]])
    outcome = torch.tensor([1.0, 0.0])
    found = prime(token, outcome, Partition.whole(2), mask)
    # token means 2 and 3; row 0: (1−3)+(3−3)+1, (3−3)+1; row 1: (0)+(0)+(3)−1, 3−1, 3−1
    assert found.advantage.tolist() == [[-1.0, 1.0, 0.0], [2.0, 2.0, 2.0]]
    assert found.ok.tolist() == mask.tolist()


def test_prime_without_process_reward_is_rloo() -> None:
    mask = torch.rand(6, 5) < 0.8
    outcome, ids = torch.randn(6), Partition(torch.tensor([0, 0, 0, 1, 1, 2]))
    found = prime(torch.zeros(6, 5), outcome, ids, mask)
    base = rloo(outcome, ids)
    expected = torch.where(mask & base.ok.unsqueeze(-1), base.advantage.unsqueeze(-1), 0.0)
    torch.testing.assert_close(found.advantage, expected)
    shifted = prime(torch.zeros(6, 5), outcome + 3.0, ids, mask)
    torch.testing.assert_close(found.advantage, shifted.advantage, rtol=0, atol=1e-5)


def test_prime_bounded_and_weighted() -> None:
    mask = torch.ones(2, 2, dtype=torch.bool)
    token, outcome = torch.tensor([[1.0, 3.0], [-4.0, -4.0]]), torch.zeros(2)
    found = prime(token, outcome, Partition.whole(2), mask, bounded=True, process_weight=5.0, outcome_weight=5.0)
    # largest |reward to go| is 8: token means 0.25 and −0.5; row 0: 5·[(.125+.5)+(.375+.5)]
    assert found.advantage[0].tolist() == pytest.approx([7.5, 4.375])


def test_prime_ignores_failed_rows() -> None:
    mask = torch.ones(3, 2, dtype=torch.bool)
    token = torch.tensor([[1.0, 1.0], [NAN, 1e9], [3.0, 3.0]])
    found = prime(token, torch.tensor([1.0, NAN, 0.0]), Partition.whole(3), mask, ok=torch.tensor([True, False, True]))
    assert found.advantage.tolist() == [[-3.0, -1.0], [0.0, 0.0], [3.0, 1.0]]


TURNS = torch.tensor([[0, 0, -1, 1], [0, -1, -1, -1]])
STEPS = torch.tensor([[True, True, False, True], [True, True, False, False]])


def test_turns_are_compared_with_the_turns_of_their_group() -> None:
    """Card 120: A_turn = R_turn − mean over all turns of the group; it sums to 0 over turns, however long they are."""
    reward = torch.tensor([[NAN, 1.0, NAN, 5.0], [3.0, NAN, NAN, NAN]])
    found = span_relative(reward, TURNS, Partition.whole(2), STEPS)
    assert found.advantage.tolist() == [[-2.0, -2.0, 0.0, 2.0], [0.0, 0.0, 0.0, 0.0]]
    assert found.ok.tolist() == [[True, True, False, True], [True, False, False, False]]


def test_turn_level_adds_the_turn_to_the_row() -> None:
    reward = torch.tensor([[0.0, 1.0, 0.0, 5.0], [3.0, 0.0, 0.0, 0.0]])
    outcome = torch.tensor([1.0, 0.0])
    found = turn_level(outcome, reward, TURNS, Partition.whole(2), STEPS, beta=0.5)
    assert found.advantage.tolist() == [[-0.5, -0.5, 0.0, 1.5], [-0.5, -0.5, 0.0, 0.0]]
    plain = turn_level(outcome, reward, TURNS, Partition.whole(2), STEPS, beta=0.0)
    assert plain.advantage.tolist() == [[0.5, 0.5, 0.0, 0.5], [-0.5, -0.5, 0.0, 0.0]]


def test_a_turn_that_failed_leaves_the_others_alone() -> None:
    reward = torch.tensor([[0.0, 1.0, 0.0, NAN], [3.0, 0.0, 0.0, 0.0]])
    turn_ok = torch.ones(2, 4, dtype=torch.bool)
    turn_ok[0, 3] = False
    found = turn_level(torch.tensor([1.0, 0.0]), reward, TURNS, Partition.whole(2), STEPS, beta=1.0, turn_ok=turn_ok)
    assert found.advantage.tolist() == [[-0.5, -0.5, 0.0, 0.5], [0.5, -0.5, 0.0, 0.0]]


def test_no_estimator_is_a_path_for_gradients() -> None:
    """An advantage weighs log-probabilities; through it no gradient may reach a reward or value model."""
    mask, ids, over = torch.ones(2, 3, dtype=torch.bool), Partition.whole(2), torch.tensor([True, True])
    row, step = torch.randn(2, requires_grad=True), torch.randn(2, 3, requires_grad=True)
    spans = torch.tensor([[0, 0, 1], [0, 1, 1]])
    found = [
        monte_carlo(step, mask, 0.9), monte_carlo(step, mask, 0.9, mask), whiten(step, mask),
        *gae(step, step, mask, terminated=over), *gae(step, step, mask, terminated=~over, next_value=step),
        gdpo(row.unsqueeze(0), ids).advantage, prime(step, row, ids, mask).advantage, rloo(row, ids).advantage,
        remax(row, row, mask, step_reward=step).advantage, remax(row, row.detach(), mask).advantage,
        reinforce(row).advantage, reinforce(row.detach(), baseline=row).advantage,
        span_relative(step, spans, ids, mask).advantage, turn_level(row, step, spans, ids, mask, beta=1.0).advantage,
    ]  # fmt: skip
    assert [x.requires_grad for x in found] == [False] * len(found)
