"""General preferences (card 158): antisymmetry, cycles, Bradley–Terry inside, gates, mean scores."""

import math

import pytest
import torch

from guerdon.errors import GuerdonError
from guerdon.preferences import bradley_terry, general_preference, mean_skew_score, skew_score


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_antisymmetric_to_the_bit():
    v_1, v_2 = 100 * random(50, 6), random(50, 6, seed=1)
    gate = random(50, 3, seed=2).softmax(-1)
    assert torch.equal(skew_score(v_1, v_2, gate), -skew_score(v_2, v_1, gate))
    assert torch.equal(skew_score(v_1, v_1), torch.zeros(50))


def test_by_hand():
    v_1, v_2 = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
    assert skew_score(v_1, v_2).item() == 1.0
    loss = general_preference(v_1[None], v_2[None], temperature=1.0)
    assert math.exp(-loss.item()) == pytest.approx(0.731059, abs=1e-6)
    four_1, four_2 = torch.tensor([1.0, 2.0, 3.0, 4.0]), torch.tensor([5.0, 6.0, 7.0, 8.0])
    assert skew_score(four_1, four_2).item() == (1 * 6 - 2 * 5) + (3 * 8 - 4 * 7)
    assert skew_score(four_1, four_2, torch.tensor([0.5, 2.0])).item() == 0.5 * -4 + 2 * -4


def test_three_angles_are_a_cycle():
    angle = torch.tensor([0.0, 2 * math.pi / 3, 4 * math.pi / 3])
    v = torch.stack([angle.cos(), angle.sin()], -1)
    table = skew_score(v[:, None], v[None])
    high = math.sin(2 * math.pi / 3)
    expected = torch.tensor([[0, high, -high], [-high, 0, high], [high, -high, 0]])
    torch.testing.assert_close(table, expected, atol=1e-6, rtol=0)


def test_bradley_terry_is_inside():
    r = random(7)
    v = torch.stack([r, torch.ones(7)], -1)
    torch.testing.assert_close(skew_score(v[:, None], v[None]), r[:, None] - r[None])
    same = general_preference(v[:3], v[3:6], preferred=0.7, temperature=0.1)
    torch.testing.assert_close(same, bradley_terry(r[:3], r[3:6], preferred=0.7, temperature=0.1))


def test_turning_a_block_of_both_changes_nothing():
    v_1, v_2 = random(5, 4), random(5, 4, seed=1)
    turn = torch.eye(4)
    c, s = math.cos(0.7), math.sin(0.7)
    turn[2:, 2:] = torch.tensor([[c, -s], [s, c]])
    torch.testing.assert_close(skew_score(v_1 @ turn.T, v_2 @ turn.T), skew_score(v_1, v_2))


def test_mean_scores_are_the_table_s_rows_and_sum_to_zero():
    v = random(2, 5, 4).requires_grad_()
    mask = torch.tensor([[True] * 5, [True, False, True, True, False]])
    gate = random(2, 2, seed=3).softmax(-1)
    found = mean_skew_score(v, mask, gate)
    table = skew_score(v[:, :, None], v[:, None], gate[:, None, None])
    both = mask[:, :, None] & mask[:, None]
    expected = torch.where(both, table, 0.0).sum(-1) / mask.sum(-1, keepdim=True)
    torch.testing.assert_close(found, expected)
    assert found.sum(-1).abs().max().item() < 1e-6
    assert torch.equal(found[1, [1, 4]], torch.zeros(2))


@pytest.mark.parametrize("wide", [(3, 3), (2, 4), (0, 0)])
def test_odd_or_unequal_embeddings_are_refused(wide):
    with pytest.raises(GuerdonError, match="even dimension"):
        skew_score(torch.zeros(1, wide[0]), torch.zeros(1, wide[1]))
