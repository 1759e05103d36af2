"""GDPO against GRPO (card 51): the same parts, in another order; where normalisation sits is the whole difference."""

import pytest
import torch

from guerdon.advantages import group_relative, per_channel, whiten
from guerdon.batch import Partition


def grpo_several(rewards: torch.Tensor, weights: torch.Tensor, prompt: Partition) -> torch.Tensor:
    """Combine at stage *reward*, then normalise: rewards [K,N] -> [N]."""
    return group_relative((weights[:, None] * rewards).sum(0), prompt, convention="verl").advantage


def gdpo_several(rewards: torch.Tensor, weights: torch.Tensor, prompt: Partition) -> torch.Tensor:
    """Normalise each channel, then combine at stage *advantage*: rewards [K,N] -> [N]."""
    each = per_channel(rewards, prompt, estimator=lambda r, p, ok: group_relative(r, p, ok, "verl"))
    return (weights[:, None] * each.advantage).sum(0)


ONES = torch.ones(2)


def test_grpo_cannot_tell_what_gdpo_tells():
    one, two = torch.tensor([[0.0, 1.0], [0.0, 0.0]]), torch.tensor([[0.0, 1.0], [0.0, 1.0]])
    pair = Partition.whole(2)
    root = 0.5**0.5
    for rewards in (one, two):
        assert grpo_several(rewards, ONES, pair).tolist() == pytest.approx([-root, root], abs=1e-5)
    assert gdpo_several(one, ONES, pair).tolist() == pytest.approx([-root, root], abs=1e-5)
    assert gdpo_several(two, ONES, pair).tolist() == pytest.approx([-2 * root, 2 * root], abs=1e-5)


def test_one_channel_is_group_normalisation_then_whitening():
    rewards, groups = torch.tensor([[1.0, 0.0, 0.0, 2.0, 1.0]]), Partition(torch.tensor([0, 0, 0, 1, 1]))
    single = group_relative(rewards[0], groups, convention="verl").advantage
    assert torch.equal(gdpo_several(rewards, torch.ones(1), groups), single)
    final = whiten(single, torch.ones(5, dtype=torch.bool))
    assert final.mean().item() == pytest.approx(0.0, abs=1e-6)


def test_affine_changes_of_one_reward_do_not_matter_to_gdpo():
    rewards = torch.tensor([[0.0, 1.0, 0.0, 1.0], [0.3, 0.1, 0.9, 0.5]])
    moved = rewards * torch.tensor([[50.0], [1.0]]) + torch.tensor([[-3.0], [0.0]])
    whole = Partition.whole(4)
    assert torch.allclose(gdpo_several(rewards, ONES, whole), gdpo_several(moved, ONES, whole), atol=1e-4)
    assert not torch.allclose(grpo_several(rewards, ONES, whole), grpo_several(moved, ONES, whole), atol=1e-2)
