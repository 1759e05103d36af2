"""Group advantages: the frameworks' conventions to the digit, and the groups that broke them."""

import pytest
import torch

from guerdon.advantages import CONVENTIONS, Convention, group_relative, reinforce, rloo, spread
from guerdon.batch import Partition
from guerdon.errors import GuerdonError

NAN = float("nan")
WINNER = torch.tensor([1.0, 0.0, 0.0, 0.0])


def groups(*ids: int) -> Partition:
    return Partition(torch.tensor(ids))


@pytest.mark.parametrize(
    ("convention", "winner", "loser", "total"),
    [
        ("trl", 1.49970, -0.49990, 0.0),
        ("verl", 1.500, -0.500, 0.0),
        ("slime", 1.500, -0.500, 0.0),
        ("openrlhf", 1.500, -0.500, 0.0),
        ("open_instruct", 1.7321, -0.5774, 0.0),
        ("open_instruct_centered", 0.75, -0.25, 0.0),
        ("prime_rl", 0.75, -0.25, 0.0),
        ("dr_grpo", 0.75, -0.25, 0.0),
        ("nemo_rl", 1.0, -0.5773, -0.732),
    ],
)
def test_one_group_under_each_framework(convention: str, winner: float, loser: float, total: float) -> None:
    """TRL #35702ce37 and kin: the winner of [1,0,0,0] is worth 0.75 to 1.73 depending on the code base."""
    advantage = group_relative(WINNER, Partition.whole(4), convention=convention).advantage
    digits = 5e-5 if convention != "trl" else 5e-6
    assert advantage[0].item() == pytest.approx(winner, abs=digits)
    assert advantage[1:].tolist() == pytest.approx([loser] * 3, abs=6e-5)
    assert advantage.sum().item() == pytest.approx(total, abs=1e-3 if total else 1e-6)


def test_trl_exact_value() -> None:
    # unbiased std of [1,0,0,0] is exactly 1/2
    advantage = group_relative(WINNER.double(), Partition.whole(4), convention="trl").advantage
    assert advantage.tolist() == pytest.approx([0.75 / 0.5001] + [-0.25 / 0.5001] * 3, abs=1e-14)


def test_uneven_groups_do_not_touch_each_other() -> None:
    """slime #1414: a group of three 5.0 next to others got −1.09; here each group stands alone."""
    reward = torch.tensor([5.0, 0.0, 5.0, 1.0, 5.0, 2.0, 3.0])
    both = group_relative(reward, groups(0, 1, 0, 1, 0, 1, 1), convention="openrlhf").advantage
    assert both[[0, 2, 4]].tolist() == [0.0, 0.0, 0.0]
    alone = group_relative(reward[[1, 3, 5, 6]], Partition.whole(4), convention="openrlhf").advantage
    torch.testing.assert_close(both[[1, 3, 5, 6]], alone, rtol=0, atol=0)


@pytest.mark.parametrize("convention", sorted(CONVENTIONS))
def test_a_group_of_one_has_no_advantage(convention: str) -> None:
    """verl's grpo, RLOO and OPO give a group of one its raw reward, NeMo-RL an unsaid 0; here it is not ok."""
    found = group_relative(torch.tensor([7.0, 1.0, 0.0]), groups(0, 1, 1), convention=convention)
    assert found.advantage[0].item() == 0.0
    assert found.ok.tolist() == [False, True, True]


@pytest.mark.parametrize("convention", sorted(CONVENTIONS))
@pytest.mark.parametrize("value", [0.1, 1e-8, 0.3, 1e6, -2075.0])
@pytest.mark.parametrize("size", [2, 3, 7, 10])
def test_identical_rewards_give_exactly_zero(convention: str, value: float, size: int) -> None:
    """NeMo-RL #4158: rounding noise of a variance divided by itself became −2075."""
    found = group_relative(torch.full((size,), value), Partition.whole(size), convention=convention)
    assert found.advantage.tolist() == [0.0] * size
    assert bool(found.ok.all())


def test_an_outlier_among_identical_peers_is_not_divided_by_noise() -> None:
    """NeMo-RL #4158: the one row whose peers are all 0.1 has a peer std of exactly 0 and keeps its plain difference."""
    reward = torch.tensor([0.2] + [0.1] * 6)
    advantage = group_relative(reward, Partition.whole(7), convention="nemo_rl").advantage
    assert advantage[0].item() == pytest.approx(0.1, abs=1e-7)


@pytest.mark.parametrize("convention", sorted(CONVENTIONS))
@pytest.mark.parametrize("junk", [NAN, 1e9, 0.0])
def test_invalid_rows_never_enter_a_baseline(convention: str, junk: float) -> None:
    """verl #6452: rejected rows stayed inside the baseline."""
    reward = torch.tensor([1.0, junk, 0.0, 0.5])
    ok = torch.tensor([True, False, True, True])
    found = group_relative(reward, groups(0, 0, 0, 0), ok, convention)
    clean = group_relative(torch.tensor([1.0, 0.0, 0.5]), groups(0, 0, 0), convention=convention)
    assert found.advantage[1].item() == 0.0
    assert found.ok.tolist() == [True, False, True, True]
    torch.testing.assert_close(found.advantage[ok], clean.advantage, rtol=0, atol=1e-6)


def test_rows_in_no_group_are_left_out() -> None:
    found = group_relative(torch.tensor([3.0, 1.0, 0.0]), groups(-1, 0, 0), convention="dr_grpo")
    assert found.advantage.tolist() == [0.0, 0.5, -0.5]
    assert found.ok.tolist() == [False, True, True]


def test_shift_and_scale_of_a_group() -> None:
    reward, ids = torch.tensor([1.0, 4.0, 2.0, -3.0, 0.5]).double(), groups(0, 0, 0, 1, 1)
    shifted = reward + torch.tensor([5.0, 5, 5, -9, -9])
    for convention in CONVENTIONS:
        if convention == "trl_batch":
            continue
        a, b = (group_relative(r, ids, convention=convention).advantage for r in (reward, shifted))
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12)
    scaled = group_relative(7 * reward, ids, convention=Convention(eps=0.0)).advantage
    torch.testing.assert_close(scaled, group_relative(reward, ids, convention=Convention(eps=0.0)).advantage)


def test_a_permutation_permutes() -> None:
    reward, ids, order = torch.randn(9), torch.randint(0, 3, (9,)), torch.randperm(9)
    for convention in CONVENTIONS:
        a = group_relative(reward, Partition(ids), convention=convention).advantage[order]
        b = group_relative(reward[order], Partition(ids[order]), convention=convention).advantage
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


def test_batch_scale_divides_by_the_batch() -> None:
    # group means 0.5 and 2; the batch [1,0,4,0] has unbiased std sqrt(10.75/3)
    found = group_relative(torch.tensor([1.0, 0, 4, 0]).double(), groups(0, 0, 1, 1), convention="trl_batch").advantage
    std = (10.75 / 3) ** 0.5 + 1e-4
    assert found.tolist() == pytest.approx([0.5 / std, -0.5 / std, 2 / std, -2 / std], abs=1e-12)


def test_advantages_carry_no_gradient() -> None:
    reward = torch.tensor([1.0, 0.0], requires_grad=True)
    assert not group_relative(reward, Partition.whole(2)).advantage.requires_grad


def test_an_unknown_convention_names_the_known_ones() -> None:
    with pytest.raises(GuerdonError, match="nemo_rl"):
        group_relative(WINNER, Partition.whole(4), convention="grpo")


def test_rloo_by_hand() -> None:
    found = rloo(torch.tensor([1.0, 2.0, 6.0, 5.0]), groups(0, 0, 0, 1))
    assert found.advantage.tolist() == [-3.0, -1.5, 4.5, 0.0]
    assert found.ok.tolist() == [True, True, True, False]


def test_rloo_is_the_rescaled_group_mean() -> None:
    """Card 95: r·K/(K−1) − ΣR/(K−1) equals r minus the mean of the others."""
    reward = torch.randn(5).double()
    expected = reward * 5 / 4 - reward.sum() / 4
    torch.testing.assert_close(rloo(reward, Partition.whole(5)).advantage, expected)


def test_rloo_with_one_valid_row_left() -> None:
    found = rloo(torch.tensor([1.0, NAN, NAN]), groups(0, 0, 0), torch.tensor([True, False, False]))
    assert found.advantage.tolist() == [0.0, 0.0, 0.0]
    assert not bool(found.ok.any())


def test_reinforce_subtracts_the_mean_of_the_valid_rows() -> None:
    found = reinforce(torch.tensor([1.0, NAN, 3.0]), torch.tensor([True, False, True]))
    assert found.advantage.tolist() == [-1.0, 0.0, 1.0]
    assert found.ok.tolist() == [True, False, True]
    assert reinforce(torch.tensor([1.0, 3.0]), baseline=0.5).advantage.tolist() == [0.5, 2.5]
    assert reinforce(torch.tensor([1.0, 3.0]), baseline=torch.tensor([1.0, 2.0])).advantage.tolist() == [0.0, 1.0]


def test_spread_reaches_the_true_steps_only() -> None:
    mask = torch.tensor([[True, True, False], [False, True, True]])
    assert spread(torch.tensor([2.0, -1.0]), mask).tolist() == [[2.0, 2.0, 0.0], [0.0, -1.0, -1.0]]
    with pytest.raises(GuerdonError, match="mask"):
        spread(torch.zeros(3), mask)
