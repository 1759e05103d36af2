"""RTO (card 143): its rewards by hand, what they are without a guide, and a run on a token tree."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from guerdon import advantages
from guerdon.batch import Channel, Pairs, Samples, Scores, Seed, Status, Steps
from guerdon.divergences import reverse_kl
from guerdon.lab.token_mdp import token_tree
from guerdon.objectives import dpo
from guerdon.rewards.environment import environment_reward
from guerdon.training import (
    Estimator,
    Optim,
    Prompts,
    Recipe,
    Recorded,
    Rollout,
    by_row,
    generalised,
    rto,
    run,
    with_implicit_credit,
)
from guerdon.training.methods import find
from guerdon.worlds import Frozen, Sampling

N, T = 6, 5
G = torch.Generator().manual_seed(0)


def rollout(guide: Tensor | None = None, status: Tensor | None = None) -> Rollout:
    """Six rows of two prompts, of several lengths and with a gap; NaN under the mask."""
    mask = torch.arange(T) < torch.tensor([5, 3, 4, 1, 5, 2])[:, None]
    mask[2, 1] = False
    names = {k: -torch.rand(N, T, generator=G) for k in ("old", "reference", "guide")}
    names["guide"] = names["guide"] if guide is None else guide
    logp = {k: torch.where(mask, v, torch.nan) for k, v in names.items()}
    stats = {"value:total": torch.rand(N, T, generator=G)}
    reward = torch.tensor([1.0, -1.0, 0.5, 2.0, 0.0, -0.5])
    if status is not None:
        reward = torch.where(status == 0, reward, torch.nan)
    samples = Samples(torch.zeros(N), ["a", "a", "a", "b", "b", "b"], truncated=torch.zeros(N, dtype=torch.bool))
    return Rollout(samples, Steps(mask, logp, stats), scores=Scores({"rm": Channel(reward, status)}))


def rewards_seen(given: Rollout, **options: float) -> Tensor:
    """The step rewards [N,T] that ``with_implicit_credit`` hands on."""
    seen: list[Tensor] = []

    def call(inner: Rollout):
        seen.append(inner.scores.only().filled())
        return inner.batch()

    with_implicit_credit(Estimator("see", call), **options)(given)
    return seen[0]


def advantage(estimator: Estimator, given: Rollout) -> Tensor:
    return estimator(given).advantages["total"]


def test_step_rewards_by_hand() -> None:
    """clip(β1·g, ±c) on every step, β3·r_RM on the last."""
    steps = Steps(
        torch.tensor([[False, True, True, True]]),
        {"guide": torch.tensor([[9.0, -1.0, -0.5, -4.0]]), "reference": torch.tensor([[0.0, -1.4, -3.5, -0.5]])},
    )
    given = Rollout(Samples(torch.zeros(1), ["x"]), steps, scores=Scores({"rm": Channel(torch.tensor([2.0]))}))
    found = rewards_seen(given, beta=0.05, clip=0.05, weight=0.5)
    assert found[0].tolist() == pytest.approx([0.0, 0.02, 0.05, 1.0 - 0.05], abs=1e-7)


def test_unclipped_rewards_sum_to_the_log_ratio_and_the_row_s_reward() -> None:
    given = rollout()
    found = rewards_seen(given, beta=0.3, clip=None, weight=2.0)
    expected = 0.3 * given.steps.log_ratio("guide", "reference").sum(1) + 2.0 * given.scores.only().value
    torch.testing.assert_close(found.sum(1), expected, atol=1e-6, rtol=0)
    assert not found[~given.steps.mask].any()


def test_beta_zero_and_a_guide_that_is_the_reference_are_ppo() -> None:
    given = rollout()
    plain = generalised(kl=0.1)
    logp = {**given.steps.logp, "guide": given.steps.logp["reference"]}
    unguided = replace(given, steps=replace(given.steps, logp=logp))
    for estimator, of in ((with_implicit_credit(plain, beta=0.0), given), (with_implicit_credit(plain), unguided)):
        assert torch.equal(advantage(estimator, of), advantage(plain, given))
        assert torch.equal(estimator(of).returns["total"], plain(given).returns["total"])
    assert not torch.equal(advantage(with_implicit_credit(plain), given), advantage(plain, given))


def test_without_a_guide_it_is_leave_one_out() -> None:
    given = rollout()
    assert torch.equal(advantage(rto(beta=0.0, kl=0.0), given), advantage(by_row(advantages.rloo), given))
    assert "steps.logp.old" not in rto(kl=0.0).needs and "steps.logp.old" in rto().needs


def test_reward_to_go_without_a_critic_by_hand() -> None:
    """Two rows of one prompt, β 1, no clip, kl 0.5: dense rewards (1.5 − 1, −0.5 − 1) and (3), rewards 0 and 2."""
    steps = Steps(
        torch.tensor([[True, True], [True, False]]),
        {
            "guide": torch.tensor([[1.5, -0.5], [3.0, 0.0]]),
            "reference": torch.zeros(2, 2),
            "old": torch.tensor([[2.0, 2.0], [0.0, 0.0]]),
        },
    )
    given = Rollout(
        Samples(torch.zeros(2), ["x", "x"]), steps, scores=Scores({"rm": Channel(torch.tensor([0.0, 2.0]))})
    )
    found = advantage(rto(beta=1.0, clip=None, kl=0.5), given)
    # to go (−1, −1.5) and (3) minus the peer's at that step, if it has one; plus each row's reward minus its peer's
    assert found[0].tolist() == pytest.approx([-1.0 - 3.0 - 2.0, -1.5 - 2.0])
    assert found[1].tolist() == pytest.approx([3.0 + 1.0 + 2.0, 0.0])


def test_a_row_without_a_reward_is_left_out() -> None:
    status = torch.tensor([0, 0, int(Status.NOT_APPLICABLE), 0, 0, 0], dtype=torch.int8)
    given = rollout(status=status)
    for estimator in (rto(), with_implicit_credit(generalised(kl=0.1))):
        batch = estimator(given)
        assert not batch.steps.mask[2].any() and not batch.advantages["total"][2].any()


def test_a_guide_alone_teaches_what_it_was_taught() -> None:
    """With weight 0 nothing but the soft optimum's log-ratio is learned from, and the true reward rises."""
    tree = token_tree(Seed(5))
    world, snapshots = tree.fresh()
    snapshots.add("guide", Frozen())
    snapshots.put("guide", {"logits": tree.soft(0.5).policy.log().clamp(min=-30).float()})
    recipe = Recipe(
        world,
        snapshots,
        Prompts(["initial"], 1),
        find("rto").objective(),
        Optim(lr=0.2, kind="adam", clip=None),
        rounds=25,
        reward=environment_reward,
        sampling=Sampling(limit=tree.depth),
        per_start=16,
        estimator=rto(clip=None, weight=0.0),
    )
    run(recipe)
    start, best = tree.gold(tree.reference.exp()), tree.gold(tree.soft(0.5).policy)
    found = tree.gold(world.log_probabilities(snapshots).detach().exp())
    assert found > start + 0.4 * (best - start)


def test_dpo_recovers_a_guide_that_orders_tokens() -> None:
    """DPO on pairs of a tree, whose soft optimum is known: its credit moves towards the optimum's."""
    tree = token_tree(Seed(6), symbols=2, depth=3)
    world, snapshots = tree.fresh()
    samples = world.sample(snapshots, ["initial"], 800, Sampling(limit=tree.depth), Seed(0))
    first, second = torch.arange(0, 800, 2), torch.arange(1, 800, 2)
    value = samples.payload.returns()
    pairs = Pairs(first, second, preferred=(value[first] - value[second]).sigmoid())
    run(Recipe(world, snapshots, Recorded(samples, 400, pairs), dpo(0.5), Optim(lr=0.1, kind="adam", clip=None), 60))
    best = tree.soft(0.5).policy.log()
    live = ~tree.mdp.terminal
    with torch.no_grad():
        found = world.log_probabilities(snapshots).double()
    far = reverse_kl(best[live], tree.reference[live]).mean()
    assert reverse_kl(best[live], found[live]).mean() < 0.1 * far
