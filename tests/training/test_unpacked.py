"""The PPO of *Unpacking DPO and PPO* (card 162): missing ends, whitening, what is left at κ = 0."""

import pytest
import torch
from torch import nn

from guerdon.advantages import gae, monte_carlo, whiten
from guerdon.batch import Channel, Samples, Scores, Seed, Status, Steps
from guerdon.errors import NeedsError
from guerdon.lab import finite
from guerdon.lab.finite_online import TableReward
from guerdon.shaping import with_terminal_reward
from guerdon.training import Prompts, Rollout, generalised, run
from guerdon.training.unpacked import eos_penalty, unpacked_ppo, with_eos_penalty
from guerdon.worlds import Frozen, Snapshots
from guerdon.worlds.finite import FiniteRows, FiniteWorld, LinearPolicy, exact

MASK = torch.tensor([[True, True, True], [True, True, False], [True, False, False]])


def rollout(terminated: torch.Tensor | None, score: torch.Tensor, status: torch.Tensor | None = None) -> Rollout:
    """Three rows, values 0, the policy 0.5 nats a step above the reference."""
    zero = torch.zeros(3, 3)
    rows = FiniteRows(torch.zeros(3, dtype=torch.int64), torch.zeros(3, dtype=torch.int64))
    steps = Steps(MASK, {"old": zero + 0.5, "reference": zero}, {"value:total": zero})
    return Rollout(
        Samples(rows, [0] * 3, terminated=terminated), steps, scores=Scores({"reward": Channel(score, status)})
    )


def test_the_penalty_stands_exactly_where_the_end_is_missing() -> None:
    score, over = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([True, False, True])
    assert eos_penalty(score, over).tolist() == [1.0, -10.0, 3.0]
    found = with_eos_penalty(generalised(lam=1.0, whiten=False))(rollout(over, score))
    assert found.returns["total"].tolist() == [[1, 1, 1], [-10, -10, 0], [3, 0, 0]]


def test_a_row_without_a_valid_score_gets_no_penalty() -> None:
    score = torch.tensor([1.0, float("nan"), 3.0])
    status = torch.tensor([0, int(Status.FAILED), 0], dtype=torch.int8)
    over = torch.tensor([True, False, False])
    found = with_eos_penalty(generalised(lam=1.0, whiten=False))(rollout(over, score, status))
    assert found.returns["total"].tolist() == [[1, 1, 1], [0, 0, 0], [-10, 0, 0]]
    assert found.steps.mask.any(-1).tolist() == [True, False, True]


def test_who_does_not_say_how_it_ended_is_refused() -> None:
    with pytest.raises(NeedsError, match="terminated"):
        with_eos_penalty(generalised())(rollout(None, torch.ones(3)))


def test_without_kl_only_the_score_is_left_and_with_it_a_cost_a_token() -> None:
    over, score = torch.ones(3, dtype=torch.bool), torch.tensor([1.0, 2.0, 3.0])
    plain = with_eos_penalty(generalised(lam=1.0, kl=0.0, whiten=False))(rollout(over, score))
    assert plain.returns["total"][:, 0].tolist() == [1.0, 2.0, 3.0]
    cost = with_eos_penalty(generalised(lam=1.0, kl=0.1, whiten=False))(rollout(over, score))
    assert cost.returns["total"][:, 0].tolist() == pytest.approx([1 - 0.15, 2 - 0.10, 3 - 0.05])


def test_gae_at_one_without_values_is_the_return() -> None:
    step = with_terminal_reward(torch.tensor([1.0, 2.0, 3.0]), MASK)
    found = gae(step, torch.zeros(3, 3), MASK, terminated=torch.ones(3, dtype=torch.bool), gamma=1.0, lam=1.0)
    assert torch.equal(found.advantage, monte_carlo(step, MASK))


def test_whitened_advantages_have_mean_nought_and_variance_one_over_live_tokens() -> None:
    score = torch.tensor([1.0, -2.0, 5.0])
    found = with_eos_penalty(generalised(whiten=True))(rollout(torch.ones(3, dtype=torch.bool), score))
    live = found.advantages["total"][MASK]
    assert live.mean().item() == pytest.approx(0.0, abs=1e-6) and live.var().item() == pytest.approx(1.0, abs=1e-5)
    assert not found.advantages["total"][~MASK].any()
    assert torch.equal(whiten(found.advantages["total"], MASK), whiten(found.advantages["total"].clone(), MASK))


def test_the_whole_recipe_raises_gold() -> None:
    bed = finite.finite(Seed(0), prompts=4, responses=16)
    head = nn.Embedding(4, 1)
    nn.init.zeros_(head.weight)
    world = FiniteWorld(bed.features, {"total": head})
    snapshots = Snapshots(LinearPolicy(bed.features, base=bed.reference), reference=Frozen())
    starts = [x for x in range(4) for _ in range(16)]
    run(unpacked_ppo(world, snapshots, Prompts(starts, 64), TableReward(bed.gold), head, rounds=15, lr=0.05, parts=2))
    with torch.no_grad():
        law = world.log_probabilities(snapshots)
    assert float(exact.expected(law, bed.gold).mean()) > bed.start + 0.3
