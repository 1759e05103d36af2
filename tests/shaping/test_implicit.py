"""Implicit rewards of single steps (cards 143 and 180) in a token MDP that is solved exactly."""

import pytest
import torch

from guerdon.batch import Batch, Pairs, Seed, Steps
from guerdon.errors import GuerdonError
from guerdon.lab.token_mdp import TokenMdp, token_tree
from guerdon.objectives import dpo
from guerdon.shaping import implicit_credit, potential
from guerdon.worlds import Sampling
from guerdon.worlds.tabular import shaped

BETA = 0.7
EVERY = torch.ones(1, 1, dtype=torch.bool)


def tree(seed: int = 0) -> TokenMdp:
    return token_tree(Seed(seed), symbols=3, depth=4)


def credit(of: TokenMdp, policy: torch.Tensor, beta: float = BETA) -> torch.Tensor:
    """β log π/π_ref of every state and token."""
    return implicit_credit(policy.log() - of.reference, torch.ones_like(policy, dtype=torch.bool), beta)


def after(of: TokenMdp, value: torch.Tensor) -> torch.Tensor:
    """V of the state that every token leads to."""
    return of.mdp.transition @ torch.where(of.mdp.terminal, 0.0, value)


def test_the_true_reward_is_what_is_left_without_the_shaping() -> None:
    """β log π*/π_ref − (V*(s′) − V*(s)) = r at every state and token."""
    t = tree()
    best = t.soft(BETA)
    found = credit(t, best.policy) - (after(t, best.value) - best.value[:, None])
    live = ~t.mdp.terminal
    torch.testing.assert_close(found[live], t.reward[live], atol=1e-9, rtol=0)


def test_potential_shaping_leaves_the_optimum() -> None:
    t = tree()
    phi = torch.randn(t.mdp.states, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    moved = shaped(t.mdp, phi).expected_reward
    assert (moved - t.reward).abs().max() > 0.5
    other = TokenMdp(t.mdp.with_reward(moved), moved, t.reference, t.depth)
    live = ~t.mdp.terminal
    torch.testing.assert_close(other.soft(BETA).policy[live], t.soft(BETA).policy[live], atol=1e-9, rtol=0)


def test_a_row_sums_to_its_log_ratio() -> None:
    """Σ_t c_t = β log-ratio of the response = Σ_t r − V*(s_0)."""
    t = tree()
    best = t.soft(BETA)
    world, snapshots = t.fresh()
    rows = world.sample(snapshots, ["initial"], 50, Sampling(limit=t.depth), Seed(1)).payload
    state, action = (torch.where(rows.mask, x, 0) for x in (rows.before, rows.action))
    log_ratio = (best.policy.log() - t.reference)[state, action]
    c = implicit_credit(log_ratio, rows.mask, BETA)
    whole = BETA * torch.where(rows.mask, log_ratio, 0.0).sum(1)
    torch.testing.assert_close(c.sum(1), whole, atol=1e-12, rtol=0)
    torch.testing.assert_close(c.sum(1), rows.returns().double() - best.value[0], atol=1e-5, rtol=0)
    assert len(set(rows.length.tolist())) > 2 and not c[~rows.mask].any()


def test_credit_is_reward_and_shaping_along_a_row() -> None:
    """The library's own potential gives back what was taken: c = r + (V*(s′) − V*(s))."""
    t = tree()
    best = t.soft(BETA)
    world, snapshots = t.fresh()
    rows = world.sample(snapshots, ["initial"], 20, Sampling(limit=t.depth), Seed(2)).payload
    state, action = (torch.where(rows.mask, x, 0) for x in (rows.before, rows.action))
    c = implicit_credit((best.policy.log() - t.reference)[state, action], rows.mask, BETA)
    over = torch.ones(len(rows), dtype=torch.bool)
    phi = potential(best.value[state], rows.mask, 1.0, terminated=over)
    torch.testing.assert_close(c - phi, torch.where(rows.mask, t.reward[state, action], 0.0), atol=1e-9, rtol=0)


def test_a_constant_reward_a_response_is_not_seen() -> None:
    """r + const moves V*(s_0) alone: the optimum, so every credit and DPO's loss, stays. (On the first token of every
    response, so that each response has it once.)"""
    t = tree()
    moved = t.reward.clone()
    moved[0] += 5.0
    other = TokenMdp(t.mdp.with_reward(moved), moved, t.reference, t.depth)
    a, b = t.soft(BETA), other.soft(BETA)
    assert float(b.value[0] - a.value[0]) == pytest.approx(5.0, abs=1e-9)
    live = ~t.mdp.terminal
    torch.testing.assert_close(credit(t, a.policy)[live], credit(other, b.policy)[live], atol=1e-9, rtol=0)
    ratios = [torch.stack([credit(x, s.policy, 1.0)[0, :2]]) for x, s in ((t, a), (other, b))]
    losses = [
        dpo(BETA).loss(
            Batch(
                Steps(EVERY.expand(2, 1), {"policy": r.T, "reference": torch.zeros(2, 1, dtype=torch.float64)}),
                pairs=Pairs(torch.tensor([0]), torch.tensor([1])),
            )
        )
        for r in ratios
    ]
    assert losses[0].value.item() == pytest.approx(losses[1].value.item(), abs=1e-9)


def test_chosen_rewards_fall_on_the_reference_s_own_responses() -> None:
    """E_{y ~ π_ref}[β log π/π_ref] = −β KL(π_ref‖π) ≤ 0, by Monte Carlo over whole responses."""
    t = tree()
    best = t.soft(BETA)
    world, snapshots = t.fresh()
    rows = world.sample(snapshots, ["initial"], 4000, Sampling(limit=t.depth), Seed(3)).payload
    state, action = (torch.where(rows.mask, x, 0) for x in (rows.before, rows.action))
    c = implicit_credit((best.policy.log() - t.reference)[state, action], rows.mask, BETA).sum(1)
    error = float(c.std() / len(c) ** 0.5)
    assert float(c.mean()) < -3 * error
    # Exactly: the expected return of the reference under rewards β log π/π_ref.
    live = ~t.mdp.terminal
    exact = TokenMdp(
        t.mdp.with_reward(torch.where(live[:, None], credit(t, best.policy), 0.0)), t.reward, t.reference, 4
    )
    assert float(c.mean()) == pytest.approx(exact.gold(t.reference.exp()), abs=4 * error)


def test_clip_holds_after_scaling_and_masked_steps_are_zero() -> None:
    """β = 0.05 with ±0.05 cuts log-ratios at ±1 (card 143)."""
    ratio = torch.tensor([[0.4, 3.0, -7.0, float("nan")]], requires_grad=True)
    mask = torch.tensor([[True, True, True, False]])
    found = implicit_credit(ratio, mask, 0.05, 0.05)
    assert found[0].tolist() == pytest.approx([0.02, 0.05, -0.05, 0.0]) and not found.requires_grad
    with pytest.raises(GuerdonError, match="above 0"):
        implicit_credit(ratio, mask, 0.05, 0.0)
