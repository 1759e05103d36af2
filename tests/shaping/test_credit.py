"""Credit, potentials and KL along the steps."""

import pytest
import torch

from guerdon.batch import Channel, Status, Steps
from guerdon.errors import GuerdonError, NeedsError
from guerdon.shaping import Credit, kl_in_reward, potential, span_terminal, terminal, uniform, with_terminal_reward

NAN = float("nan")
MASK = torch.tensor([[True, False, True, False], [True, True, True, True], [False, False, False, False]])
SPANS = torch.tensor([[0, 0, 1, 1], [0, 0, 1, -1], [0, 0, 0, 0]])
STEPS = Steps(MASK, spans={"turn": SPANS})


def test_terminal_and_uniform() -> None:
    channel = Channel(torch.tensor([2.0, 8.0, 5.0]))
    out = terminal()(channel, STEPS)
    assert out.filled().tolist() == [[0, 0, 2, 0], [0, 0, 0, 8], [0, 0, 0, 0]]
    assert torch.equal(out.ok, MASK)
    assert uniform()(channel, STEPS).filled().tolist() == [[1, 0, 1, 0], [2, 2, 2, 2], [0, 0, 0, 0]]
    assert uniform(repeat=True)(channel, STEPS).filled().tolist() == [[2, 0, 2, 0], [8, 8, 8, 8], [0, 0, 0, 0]]


def test_credit_says_whether_it_keeps_the_optimum() -> None:
    for credit in (terminal(), uniform(), span_terminal("turn")):
        assert isinstance(credit, Credit)
        assert credit.keeps_optimum(1.0) and not credit.keeps_optimum(0.9)
    assert not uniform(repeat=True).keeps_optimum(1.0)


def test_credit_that_keeps_the_optimum_keeps_the_return() -> None:
    channel = Channel(torch.tensor([2.0, 8.0, 5.0]))
    for credit in (terminal(), uniform(), span_terminal("turn")):
        assert credit(channel, STEPS).filled().sum(-1).tolist() == pytest.approx([2.0, 8.0, 0.0])


def test_invalid_rows_stay_invalid_on_their_steps() -> None:
    status = torch.tensor([2, 0, 0], dtype=torch.int8)
    for credit in (terminal(), uniform(), span_terminal("turn")):
        out = credit(Channel(torch.tensor([NAN, 8.0, 5.0]), status), STEPS)
        assert out.statuses()[0].tolist() == [2, 1, 2, 1]
        assert out.filled().sum(-1).tolist() == pytest.approx([0.0, 8.0, 0.0])
    with pytest.raises(GuerdonError, match="already"):
        terminal()(Channel(torch.zeros(3, 4)), STEPS)


def test_span_terminal_moves_step_rewards_to_the_end_of_their_span() -> None:
    value = torch.tensor([[1.0, 100.0, 3.0, NAN], [1.0, 2.0, 4.0, 8.0], [0.0, 0.0, 0.0, 0.0]])
    status = torch.zeros(3, 4, dtype=torch.int8)
    status[0, 3] = int(Status.NOT_APPLICABLE)
    out = span_terminal("turn")(Channel(value, status), STEPS)
    assert out.filled().tolist() == [[1, 0, 3, 0], [0, 3, 4, 0], [0, 0, 0, 0]]
    status[1, 0], status[1, 2] = int(Status.NOT_APPLICABLE), int(Status.FAILED)
    out = span_terminal("turn")(Channel(value.masked_fill(status != 0, NAN), status), STEPS)
    assert out.statuses()[1].tolist() == [0, 0, 2, 0]
    assert out.filled()[1].tolist() == [0, 2, 0, 0]
    with pytest.raises(NeedsError, match="turn"):
        span_terminal("thought")(Channel(torch.zeros(3, 4)), STEPS)


def test_potential_telescopes_to_minus_the_first() -> None:
    """Terminal potential 0 (imitation 48c03128): over a terminated row the discounted sum is exactly −Φ(s_0)."""
    phi, gamma = torch.randn(2, 6).double(), 0.9
    mask = torch.tensor([[True] * 6, [True, True, False, True, False, False]])
    shaped = potential(phi, mask, gamma, terminated=torch.tensor([True, True]))
    clock = mask.cumsum(-1) - 1
    total = (gamma**clock * shaped).sum(-1)
    torch.testing.assert_close(total, -phi[:, 0])
    assert shaped[~mask].tolist() == [0.0, 0.0, 0.0]


def test_potential_is_not_zero_at_a_time_limit() -> None:
    """Φ = 10, γ = 0.99 (imitation's done = terminated or truncated): the cut step must see γ·10, not 0."""
    phi, mask = torch.full((1, 3), 10.0).double(), torch.ones(1, 3, dtype=torch.bool)
    cut, over = torch.tensor([True]), torch.tensor([False])
    with pytest.raises(GuerdonError, match="potential"):
        potential(phi, mask, 0.99, terminated=over, truncated=cut)
    after = torch.tensor([[10.0, 10.0, 10.0]]).double()
    shaped = potential(phi, mask, 0.99, terminated=over, truncated=cut, next_phi=after)
    assert shaped[0].tolist() == pytest.approx([-0.1, -0.1, -0.1], abs=1e-12)
    ended = potential(phi, mask, 0.99, terminated=cut, next_phi=torch.full((1, 3), 10.0).double())
    assert ended[0].tolist() == pytest.approx([-0.1, -0.1, -10.0], abs=1e-12)


def test_potential_keeps_the_greedy_action() -> None:
    """Two-step choice with potentials that favour the worse arm: the discounted return still ranks as before."""
    gamma = 0.8
    reward = torch.tensor([[0.0, 1.0], [0.0, 2.0]]).double()
    phi = torch.tensor([[3.0, 9.0], [3.0, -9.0]]).double()
    mask = torch.ones(2, 2, dtype=torch.bool)
    shaped = reward + potential(phi, mask, gamma, terminated=torch.tensor([True, True]))
    discount = torch.tensor([1.0, gamma]).double()
    gap = ((shaped - reward) * discount).sum(-1)
    assert gap.tolist() == pytest.approx([-3.0, -3.0])


def test_kl_in_reward() -> None:
    ratio = torch.tensor([[0.5, NAN, -1.0, 1e9], [2.0, 0.0, 0.0, 0.0], [NAN] * 4])
    assert kl_in_reward(ratio, MASK, 0.1).tolist()[0] == pytest.approx([-0.05, 0.0, 0.1, 0.0])
    assert kl_in_reward(ratio, MASK, 0.1, "k2")[0].tolist() == pytest.approx([-0.0125, 0.0, -0.05, 0.0])
    k3 = kl_in_reward(ratio, MASK, 0.1, "k3")[0].tolist()
    assert k3 == pytest.approx([-0.1 * (2.718281828**-0.5 - 0.5), 0.0, -0.1 * (2.718281828 - 2.0), 0.0], abs=1e-6)
    assert kl_in_reward(ratio, MASK, 0.1, clip=1.0)[1, 0].item() == pytest.approx(-0.1)
    assert kl_in_reward(ratio, MASK, 0.1)[2].tolist() == [0.0] * 4
    assert not kl_in_reward(torch.zeros(3, 4, requires_grad=True), MASK, 0.1).requires_grad


def test_a_row_reward_on_top_of_the_penalty() -> None:
    penalty = torch.full((3, 4), -0.5).masked_fill(~MASK, NAN)
    reward = torch.tensor([1.0, NAN, 7.0])
    out = with_terminal_reward(reward, MASK, penalty, ok=torch.tensor([True, False, True]))
    assert out.tolist() == [[-0.5, 0.0, 0.5, 0.0], [-0.5] * 4, [0.0] * 4]
    assert with_terminal_reward(torch.tensor([1.0, 2.0, 3.0]), MASK).tolist()[1] == [0.0, 0.0, 0.0, 2.0]
    with pytest.raises(GuerdonError, match=r"\[N,T\]"):
        with_terminal_reward(torch.zeros(2), MASK)
