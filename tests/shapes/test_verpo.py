"""VeRPO (card 120): an advantage summed over levels, turn and episode, each with its own partition."""

import math

import pytest
import torch

from guerdon import reduce
from guerdon.batch import Partition, Steps


def check_weights(passed: torch.Tensor, alpha: float = 1.0, sigma: float = 0.1, delta: float = 1e-6) -> torch.Tensor:
    """Weight [J] of each check from the passes [M,J] of all turns of the group."""
    rate = passed.mean(0)
    density = torch.exp(-(rate[:, None] - rate[None]).square() / (2 * sigma**2)).sum(1)
    return torch.exp(-alpha * rate) / (density + delta)


def turn_level_advantage(
    steps: Steps, turn_reward: torch.Tensor, outcome: torch.Tensor, prompt: Partition, beta: float
):
    """turn_reward [N,T] stands on the last step of each turn; outcome [N]. A = A_episode + β·A_turn, spread over the
    turn's steps."""
    ends = reduce.last_in_span(steps.spans["turn"])
    units = Partition(torch.where(ends, prompt.ids[:, None].expand_as(ends), -1))
    local = turn_reward - reduce.group_mean(turn_reward, units.ids)
    episode = outcome - reduce.group_mean(outcome, prompt.ids)
    turn = reduce.spread_from_last(reduce.masked(local, ends), steps.spans["turn"])
    return reduce.masked(episode[:, None] + beta * turn, steps.mask)


def toy() -> tuple[Steps, torch.Tensor, torch.Tensor]:
    spans = torch.tensor([[0, 0, 1, 1], [0, 0, 0, -1]])
    steps = Steps(spans >= 0, {}, {}, {"turn": spans})
    reward = torch.tensor([[0.0, 1.0, 0.0, 3.0], [0.0, 0.0, 2.0, 0.0]])
    return steps, reward, torch.tensor([1.0, 0.0])


def test_card_weights():
    passed = torch.tensor([[1.0, 1.0], [1.0, 0.0]])
    assert check_weights(passed, sigma=1e-3).tolist() == pytest.approx([math.exp(-1), math.exp(-0.5)], abs=2e-6)


def test_a_repeated_easy_check_keeps_the_weight_of_its_difficulty():
    passed = torch.tensor([[1.0, 1.0], [1.0, 0.0]])
    many = torch.cat([passed[:, :1].expand(-1, 7), passed[:, 1:]], 1)
    assert check_weights(many, sigma=1e-3)[:7].sum().item() == pytest.approx(
        check_weights(passed, sigma=1e-3)[0].item(), abs=1e-5
    )


def test_turn_advantages_sum_to_zero_and_beta_0_leaves_the_outcome():
    steps, reward, outcome = toy()
    whole = turn_level_advantage(steps, reward, outcome, Partition.whole(2), 1.0)
    bare = turn_level_advantage(steps, reward, outcome, Partition.whole(2), 0.0)
    assert bare[0].tolist() == [0.5] * 4 and bare[1].tolist() == [-0.5] * 3 + [0.0]
    turns = (whole - bare)[[0, 0, 1], [1, 3, 2]]
    assert turns.tolist() == pytest.approx([-1.0, 1.0, 0.0], abs=1e-7)  # rewards 1, 3, 2: mean over all turns is 2
