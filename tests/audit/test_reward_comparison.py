"""An explicit reward beside an implicit one (card 160)."""

import pytest
import torch

from guerdon.audit.reward_comparison import ScoredPairs, accuracy, balanced_accuracy, compare_rewards
from guerdon.batch import Batch, Pairs, Steps
from guerdon.errors import GuerdonError
from guerdon.objectives import bradley_terry_loss, dpo
from guerdon.preferences import bradley_terry

WINNER, LOSER = torch.tensor([1.0, 2.0, 0.0, 1.0]), torch.tensor([0.0, 1.0, 1.0, 1.0])


def test_accuracy_by_hand() -> None:
    assert accuracy(WINNER, LOSER) == 0.625
    assert accuracy(torch.zeros(9), torch.zeros(9)) == 0.5  # a constant reward, and DPO before its first update


def test_accuracy_knows_neither_scale_nor_a_shift_a_prompt() -> None:
    shift = torch.tensor([7.0, -3.0, 0.5, 100.0])
    for beta in (0.01, 0.1, 5.0):
        assert accuracy(beta * WINNER + shift, beta * LOSER + shift) == 0.625


def test_length_alone_gives_one_half_when_balanced() -> None:
    lengths = torch.tensor([[9.0, 2.0], [8.0, 3.0], [7.0, 1.0], [2.0, 6.0]])
    assert accuracy(lengths[:, 0], lengths[:, 1]) == 0.75
    assert balanced_accuracy(lengths[:, 0], lengths[:, 1], lengths) == 0.5
    assert balanced_accuracy(WINNER[:3], LOSER[:3], lengths[:3]) is None


def test_gap_and_drop() -> None:
    good, bad = torch.ones(200), torch.zeros(200)
    half = torch.arange(200) % 2
    near = ScoredPairs(good, bad, good, bad)
    far = ScoredPairs(good, bad, half.float(), 1 - half.float())
    found = compare_rewards({"near": near, "far": far})
    assert found.explicit_drop == {"far": 0.0} and found.implicit_drop == {"far": 0.5}
    assert found.sets["near"].gap.estimate == 0.0
    assert found.sets["far"].gap.low > 0.4 and found.sets["far"].gap.estimate == 0.5
    with pytest.raises(GuerdonError, match="finite"):
        compare_rewards({"x": ScoredPairs(good / 0.0, bad, good, bad)})
    with pytest.raises(GuerdonError, match="at least one set"):
        compare_rewards({})


def test_with_full_coverage_both_rank_as_the_true_reward() -> None:
    """One prompt, five responses, every pair with its exact Bradley-Terry probability: a table of rewards and a table
    of logits both reach the Bayes accuracy, 1."""
    truth = torch.tensor([0.3, -1.0, 2.0, 0.9, -0.2])
    w, l = torch.combinations(torch.arange(5)).T
    pairs = Pairs(w, l, torch.sigmoid(truth[w] - truth[l]))
    assert bradley_terry(truth[w], truth[l], preferred=pairs.preferred).shape == w.shape
    reward, logits = torch.zeros(5, requires_grad=True), torch.zeros(5, requires_grad=True)
    optimiser = torch.optim.Adam([reward, logits], lr=0.1)
    for _ in range(300):
        steps = Steps(
            torch.ones(5, 1, dtype=torch.bool),
            {"policy": logits.log_softmax(-1)[:, None], "reference": torch.full((5, 1), -1.6094)},
        )
        batch = Batch(steps, pairs=pairs, heads={"reward": reward})
        loss = bradley_terry_loss().loss(batch).value + dpo(0.5).loss(batch).value
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    better = torch.where(truth[w] > truth[l], w, l)
    worse = w + l - better
    for score in (reward.detach(), 0.5 * logits.detach()):
        assert accuracy(score[better], score[worse]) == 1.0
        torch.testing.assert_close(score - score.mean(), truth - truth.mean(), atol=0.05, rtol=0)
