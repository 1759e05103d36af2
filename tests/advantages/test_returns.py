"""Returns and GAE: against a plain loop, and at the ends of episodes where libraries differ."""

import pytest
import torch
from torch import Tensor

from guerdon.advantages import gae, monte_carlo, remax, whiten
from guerdon.errors import GuerdonError

NAN = float("nan")


def brute_force(
    reward: Tensor, value: Tensor, after: Tensor, over: Tensor, cut: Tensor, mask: Tensor, gamma: float, lam: float
) -> Tensor:
    """GAE one step at a time; ``after`` is V of the state really reached."""
    out = torch.zeros_like(reward)
    for n in range(len(reward)):
        carry = 0.0
        for t in reversed(range(reward.shape[1])):
            if not mask[n, t]:
                continue
            nxt = 0.0 if over[n, t] else float(after[n, t])
            delta = float(reward[n, t]) + gamma * nxt - float(value[n, t])
            carry = delta + (0.0 if over[n, t] or cut[n, t] else gamma * lam * carry)
            out[n, t] = carry
    return out


@pytest.mark.parametrize("trial", range(8))
def test_scan_equals_loop_over_random_ends(trial: int) -> None:
    draw = torch.Generator().manual_seed(trial)
    n, t = 5, 17
    reward, value, after = (torch.randn(n, t, generator=draw, dtype=torch.float64) for _ in range(3))
    mask = torch.rand(n, t, generator=draw) < 0.8
    kind = torch.rand(n, t, generator=draw)
    over, cut = (kind < 0.15) & mask, (kind > 0.85) & mask
    found = gae(reward, value, mask, terminated=over, truncated=cut, next_value=after, gamma=0.97, lam=0.9)
    expected = brute_force(reward, value, after, over, cut, mask, 0.97, 0.9)
    torch.testing.assert_close(found.advantage, expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(found.returns, torch.where(mask, expected + value, 0.0), rtol=0, atol=1e-12)


def test_the_next_true_step_is_the_next_state() -> None:
    """Tool output inside a row is no time: values under it never count."""
    mask = torch.tensor([[True, False, True]])
    reward = torch.tensor([[1.0, NAN, 2.0]])
    value = torch.tensor([[0.5, 1e9, 0.25]])
    found = gae(reward, value, mask, terminated=torch.tensor([True]), gamma=0.5, lam=1.0)
    # last: 2 − 0.25; first: 1 + 0.5·0.25 − 0.5 + 0.5·1.75
    assert found.advantage.tolist() == [[1.5, 0.0, 1.75]]
    assert found.returns.tolist() == [[2.0, 0.0, 2.0]]


def test_lambda_one_is_monte_carlo_and_zero_is_one_step() -> None:
    mask, over = torch.ones(2, 6, dtype=torch.bool), torch.tensor([True, True])
    reward, value = torch.randn(2, 6).double(), torch.randn(2, 6).double()
    one = gae(reward, value, mask, terminated=over, gamma=0.9, lam=1.0)
    torch.testing.assert_close(one.returns, monte_carlo(reward, mask, 0.9))
    zero = gae(reward, value, mask, terminated=over, gamma=0.9, lam=0.0)
    after = torch.cat([value[:, 1:], torch.zeros(2, 1).double()], 1)
    torch.testing.assert_close(zero.advantage, reward + 0.9 * after - value)


def test_a_time_limit_is_not_an_end() -> None:
    """cleanrl (termination or truncation taken as one): reward 1 for ever, cut at T, is worth 1/(1−γ) everywhere."""
    gamma, worth = 0.9, 10.0
    shape = (1, 7)
    mask, value = torch.ones(shape, dtype=torch.bool), torch.full(shape, worth).double()
    found = gae(
        torch.ones(shape).double(), value, mask, terminated=torch.tensor([False]), truncated=torch.tensor([True]),
        next_value=value, gamma=gamma, lam=0.95,
    )  # fmt: skip
    torch.testing.assert_close(found.advantage, torch.zeros(shape).double(), rtol=0, atol=1e-12)


def test_truncation_bootstraps_from_the_state_reached_not_from_the_reset() -> None:
    """torchrl b28e4a462: the post-reset observation was valued. Two episodes in one row, the first cut after step 0."""
    mask = torch.ones(1, 2, dtype=torch.bool)
    found = gae(
        torch.zeros(1, 2), torch.tensor([[1.0, 50.0]]), mask,
        terminated=torch.tensor([[False, True]]), truncated=torch.tensor([[True, False]]),
        next_value=torch.tensor([[4.0, NAN]]), gamma=0.5, lam=1.0,
    )  # fmt: skip
    assert found.advantage.tolist() == [[1.0, -50.0]]


def test_a_cut_row_without_a_next_value_is_refused() -> None:
    ones = torch.ones(1, 3)
    with pytest.raises(GuerdonError, match="Row 0 is cut at step 2"):
        gae(ones, ones, ones.bool(), terminated=torch.tensor([False]))
    with pytest.raises(GuerdonError, match="step 1"):
        gae(ones, ones, ones.bool(), terminated=torch.tensor([True]), truncated=torch.tensor([[False, True, False]]))


def test_the_intrinsic_stream_ignores_ends() -> None:
    """RND: curiosity goes on across episodes (cleanrl #360 family)."""
    mask = torch.ones(1, 3, dtype=torch.bool)
    reward, value = torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[0.5, 0.25, 0.125]])
    found = gae(
        reward, value, mask, terminated=torch.tensor([[False, True, False]]), gamma=0.5, lam=1.0,
        next_value=torch.tensor([[NAN, NAN, 2.0]]), episodic=False,
    )  # fmt: skip
    # returns: 3 + ½·2 = 4; 2 + ½·4 = 4; 1 + ½·4 = 3
    assert found.returns.tolist() == [[3.0, 4.0, 4.0]]


def test_junk_under_the_mask_changes_nothing() -> None:
    mask = torch.tensor([[True, True, False], [True, False, False]])
    reward, value = torch.randn(2, 3), torch.randn(2, 3)
    over = torch.tensor([True, True])
    clean = gae(reward, value, mask, terminated=over, gamma=0.9, lam=0.8)
    for junk in (NAN, 1e9, float("inf")):
        dirty = gae(
            reward.masked_fill(~mask, junk), value.masked_fill(~mask, junk), mask, terminated=over, gamma=0.9, lam=0.8
        )
        assert torch.equal(dirty.advantage, clean.advantage) and torch.equal(dirty.returns, clean.returns)


def test_an_empty_row_has_no_advantage() -> None:
    mask = torch.tensor([[False, False]])
    found = gae(torch.full((1, 2), NAN), torch.full((1, 2), NAN), mask, terminated=torch.tensor([False]))
    assert found.advantage.tolist() == [[0.0, 0.0]]


def test_monte_carlo_stops_at_ends() -> None:
    mask = torch.ones(1, 4, dtype=torch.bool)
    reward = torch.tensor([[1.0, 2.0, 4.0, 8.0]])
    assert monte_carlo(reward, mask, 0.5).tolist() == [[4.0, 6.0, 8.0, 8.0]]
    ends = torch.tensor([[False, True, False, True]])
    assert monte_carlo(reward, mask, 0.5, ends).tolist() == [[2.0, 2.0, 8.0, 8.0]]


def test_remax_by_hand() -> None:
    """Card 192: G_t = γ^{T−t+1}·clip(gap) + k_t; the last token carries one γ, the KL is the current token's."""
    mask = torch.tensor([[True, True, True, False]])
    kl = torch.tensor([[0.1, 0.2, 0.4, NAN]])
    found = remax(torch.tensor([9.0]), torch.tensor([1.0]), mask, clip=5.0, gamma=0.5, step_reward=kl)
    assert found.advantage.tolist() == [pytest.approx([0.625 + 0.1, 1.25 + 0.2, 2.5 + 0.4, 0.0], abs=1e-6)]
    to_go = remax(torch.tensor([1.0]), torch.tensor([1.0]), mask, gamma=0.5, step_reward=kl, step_credit="to_go")
    assert to_go.advantage.tolist() == [pytest.approx([0.1 + 0.1 + 0.1, 0.2 + 0.2, 0.4, 0.0], abs=1e-6)]


def test_remax_paper_formula() -> None:
    mask = torch.tensor([[True, True], [True, False], [True, True]])
    reward, greedy = torch.tensor([2.0, 1.0, NAN]), torch.tensor([0.5, 1.0, 0.0])
    found = remax(reward, greedy, mask, ok=torch.tensor([True, True, False]))
    assert found.advantage.tolist() == [[1.5, 1.5], [0.0, 0.0], [0.0, 0.0]]
    assert found.ok.tolist() == [[True, True], [True, False], [False, False]]
    shifted = remax(reward + 3, greedy + 3, mask, ok=torch.tensor([True, True, False]))
    assert torch.equal(found.advantage, shifted.advantage)
    # The clip stands after the subtraction: both rewards may be beyond it.
    assert remax(torch.tensor([107.0]), torch.tensor([100.0]), mask[:1], clip=5.0).advantage[0, 0].item() == 5.0


def test_whiten_by_hand_and_constant_data() -> None:
    mask = torch.tensor([[True, True, False], [True, False, False]])
    x = torch.tensor([[1.0, 2.0, NAN], [6.0, 1e9, NAN]]).double()
    std = 7.0**0.5  # (4 + 1 + 9)/2
    out = whiten(x, mask, eps=0.0)
    assert out[mask].tolist() == pytest.approx([-2 / std, -1 / std, 3 / std], abs=1e-12)
    assert out[~mask].tolist() == [0.0, 0.0, 0.0]
    assert whiten(torch.full((3,), 0.1), torch.ones(3, dtype=torch.bool)).tolist() == [0.0, 0.0, 0.0]
    assert whiten(x, mask, centre=False, eps=0.0)[mask].tolist() == pytest.approx([1 / std, 2 / std, 6 / std])
