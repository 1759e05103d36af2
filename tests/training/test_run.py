"""The loop learns, adds up, leaves failed rows out, and says in one sentence what it cannot do."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from guerdon import advantages
from guerdon.batch import Pairs, Samples, Seed, Status
from guerdon.errors import GuerdonError, NeedsError, RewardError
from guerdon.objectives import Objective, clipped, dpo, entropy_bonus, reinforce, sequence_sum, sft, value_loss
from guerdon.training import (
    Every,
    Micro,
    Optim,
    Prompts,
    Recipe,
    Recorded,
    best_worst,
    by_row,
    keep_best,
    minibatches,
    plain,
    run,
)
from guerdon.worlds.snapshots import CopyEvery, Frozen, Snapshots
from tests.training.toy import Count, Table, ToyWorld


def online(**changes: Any) -> Recipe:
    """RLOO on the toy world: 4 prompts, 8 rows each."""
    recipe = Recipe(
        world=ToyWorld(),
        snapshots=Snapshots(Table(), reference=Frozen()),
        source=Prompts([0, 1, 2, 3], per_round=4),
        objective=reinforce(reduction=sequence_sum()),
        optim=Optim(lr=0.1, kind="adam"),
        rounds=40,
        reward=Count(),
        per_start=8,
        estimator=by_row(advantages.rloo),
    )
    return replace(recipe, **changes)


def weights(recipe: Recipe) -> torch.Tensor:
    return recipe.snapshots.module.logits.detach().clone()  # type: ignore[union-attr]


def test_rloo_raises_the_reward_to_what_the_lengths_allow() -> None:
    done = run(online(rounds=80))
    rewards = [m["reward"] for m in done.history]
    # Rows of prompts 0..3 have 1, 2, 3, 1 steps: at most 7/4 symbols 0 on average; one in five at the start.
    assert rewards[0] < 0.8
    assert sum(rewards[-5:]) / 5 > 1.65
    assert [m["round"] for m in done.history] == list(range(1, 81))
    assert {"loss", "grad_norm", "learning_rate", "reward_std", "frac_reward_zero_std", "updates"} <= set(
        done.history[0]
    )


def test_a_run_under_autocast_is_refused() -> None:
    """autocast keeps half copies of the weights until it is left, so every round would read those of the first."""
    with torch.autocast("cpu", torch.bfloat16), pytest.raises(GuerdonError, match=r"compute=torch\.bfloat16"):
        run(online(rounds=1))


def every_pair(world: ToyWorld, snapshots: Snapshots, p_first: Any) -> tuple[Samples, Pairs]:
    """All ordered pairs of the 5 one-symbol responses to each of 4 prompts, soft-labelled."""
    prompts = [p for p in range(4) for _ in range(5)]
    samples = world.recorded(snapshots, prompts, torch.arange(5).repeat(4)[:, None])
    first, second, soft = [], [], []
    for p in range(4):
        for i in range(5):
            for j in range(i + 1, 5):
                first.append(5 * p + i)
                second.append(5 * p + j)
                soft.append(p_first(p, i, j))
    return samples, Pairs(torch.tensor(first), torch.tensor(second), torch.tensor(soft))


def test_dpo_on_every_pair_reaches_the_tilted_optimum() -> None:
    # Soft labels σ(r_i − r_j) on every pair make π_ref·exp(r/β)/Z the exact optimum (Rafailov et al. 2023, eq. 4).
    world, beta = ToyWorld(), 0.5
    snapshots = Snapshots(Table(steps=1), reference=Frozen())
    reward = torch.randn(4, 5, generator=torch.Generator().manual_seed(3))
    samples, pairs = every_pair(world, snapshots, lambda p, i, j: float(torch.sigmoid(reward[p, i] - reward[p, j])))
    with torch.no_grad():
        start = snapshots.module(torch.arange(4))[:, 0]
    source = Recorded(samples, per_round=len(pairs), pairs=pairs)
    recipe = Recipe(world, snapshots, source, dpo(beta), Optim(lr=0.05, kind="adam", schedule="cosine"), rounds=500)
    done = run(recipe)
    with torch.no_grad():
        end = snapshots.module(torch.arange(4))[:, 0]
    torch.testing.assert_close(end.exp(), torch.softmax(start + reward / beta, -1), atol=1e-4, rtol=0)
    assert {"rewards/chosen", "rewards/margins", "rewards/accuracies", "logps/chosen", "kl"} <= set(done.history[0])
    # The frozen reference of recorded rows is read once in 500 epochs.
    assert world.calls.count("reference") == 1


def test_a_reference_that_changes_is_read_again() -> None:
    world = ToyWorld()
    snapshots = Snapshots(Table(steps=1), reference=CopyEvery(4))
    samples, pairs = every_pair(world, snapshots, lambda p, i, j: 1.0)
    run(Recipe(world, snapshots, Recorded(samples, len(pairs), pairs), dpo(0.1), Optim(lr=0.01), rounds=10))
    assert world.calls.count("reference") == 3  # @0, @4, @8


@pytest.mark.parametrize("micro", [Micro(rows=1), Micro(rows=5), Micro(tokens=9)])
@pytest.mark.parametrize(
    "objective",
    [
        reinforce() + 0.1 * entropy_bonus(),
        clipped(reduction=sequence_sum()),
    ],
    ids=["token mean and entropy", "clipped"],
)
def test_an_update_does_not_depend_on_the_split(objective: Objective, micro: Micro) -> None:
    def result(m: Micro) -> tuple[torch.Tensor, dict[str, float]]:
        recipe = online(
            objective=objective, rounds=3, micro=m, optim=Optim(lr=0.5, kind="sgd"), build=minibatches(2, 2)
        )
        done = run(recipe)
        return weights(recipe), dict(done.history[-1])

    (whole, a), (split, b) = result(Micro()), result(micro)
    torch.testing.assert_close(whole, split, atol=2e-6, rtol=0)
    assert a.keys() == b.keys()
    for key in a:
        assert a[key] == pytest.approx(b[key], abs=1e-5), key


def test_pairs_and_coupled_sums_do_not_depend_on_the_split() -> None:
    def centred_sft() -> Objective:
        """−log π minus its mean over the whole batch, a stand-in for KTO's z₀."""
        term = sft().terms[0]

        def couple(batch: Any) -> dict[str, torch.Tensor]:
            steps = batch.steps
            return {"sum": steps.logprob("policy").sum(), "n": steps.mask.sum().float()}

        def unit(batch: Any, stats: Any) -> torch.Tensor:
            assert float(stats["n"]) == 20.0  # sums of the whole batch, whatever the split
            return (term.unit(batch, {}) + stats["sum"] / stats["n"]).square()

        return Objective((replace(term, name="centred", unit=unit, couple=couple),))

    def result(micro: Micro) -> torch.Tensor:
        world = ToyWorld()
        snapshots = Snapshots(Table(steps=1), reference=Frozen())
        samples, pairs = every_pair(world, snapshots, lambda p, i, j: 1.0)
        source = Recorded(samples, len(pairs), pairs)
        objective = dpo(0.1) + 0.1 * centred_sft()
        run(Recipe(world, snapshots, source, objective, Optim(lr=0.5, kind="sgd"), rounds=3, micro=micro))
        return snapshots.module.logits.detach().clone()

    torch.testing.assert_close(result(Micro()), result(Micro(rows=5)), atol=1e-6, rtol=0)


def test_the_first_ratio_is_exactly_one_and_old_is_not_recomputed_for_one_update() -> None:
    world = ToyWorld()
    done = run(online(world=world, objective=clipped(), rounds=1))
    assert done.history[0]["clip_ratio"] == 0.0
    assert done.history[0]["approx_kl"] == 0.0
    assert world.calls == ["policy"]


def test_old_stays_fixed_over_the_epochs_of_a_round() -> None:
    done = run(online(objective=clipped(), rounds=1, build=minibatches(1, 4), optim=Optim(lr=0.3, kind="adam")))
    assert done.history[0]["approx_kl"] > 0
    assert done.history[0]["updates"] == 4


def test_failed_rows_are_left_out_and_counted() -> None:
    bad = {0: Status.FAILED, 9: Status.FAILED, 17: Status.NOT_APPLICABLE}
    seen: list[Samples] = []
    spy = by_row(advantages.rloo)
    estimator = replace(spy, call=lambda rollout: (seen.append(rollout.samples), spy.call(rollout))[1])
    done = run(online(reward=Count(bad), estimator=estimator, rounds=1))
    assert len(seen[0]) == 29
    assert done.history[0]["frac_reward_failed"] == 2 / 32
    assert done.history[0]["frac_reward_absent"] == 1 / 32
    counts = torch.bincount(seen[0].partition("prompt").ids).tolist()
    assert counts == sorted(counts, reverse=False) or sum(counts) == 29


def test_pairs_that_lose_a_side_go() -> None:
    world = ToyWorld()
    snapshots = Snapshots(Table(steps=1), reference=Frozen())
    samples, pairs = every_pair(world, snapshots, lambda p, i, j: 1.0)
    recipe = Recipe(
        world,
        snapshots,
        Recorded(samples, 40, pairs, seed=None),
        dpo(0.1),
        Optim(),
        rounds=1,
        reward=Count({3: Status.FAILED}),
    )
    seen = []
    spy = replace(recipe.estimator, call=lambda rollout: (seen.append(rollout), rollout.batch())[1])
    run(replace(recipe, estimator=spy))
    assert len(seen[0]) == 19
    assert len(seen[0].pairs) == 36  # row 3 stood in four of the forty
    symbols = seen[0].samples.payload.symbols[:, 0]
    assert bool((symbols[seen[0].pairs.winner] < symbols[seen[0].pairs.loser]).all())


def test_every_row_failed_is_an_error() -> None:
    with pytest.raises(RewardError, match=r"Every row of round 1 is without a usable reward \(32 failed"):
        run(online(reward=Count(dict.fromkeys(range(32), Status.FAILED))))


def test_a_reward_that_raises_leaves_earlier_results_intact(tmp_path: Path) -> None:
    with pytest.raises(RewardError, match=r"'count' raised in round 6 \(OSError: the judge hung up\)"):
        run(online(reward=Count(fails_at=5), rounds=10), tmp_path, save_every=2)
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 5
    assert sorted(p.name for p in (tmp_path / "checkpoints").iterdir()) == ["round-00000002", "round-00000004"]
    # The judge is back: the run goes on to the same weights as one that never stopped.
    resumed, whole = online(rounds=10), online(rounds=10)
    history = run(resumed, tmp_path, save_every=2).history
    run(whole)
    assert [m["round"] for m in history] == list(range(1, 11))
    assert torch.equal(weights(resumed), weights(whole))


def test_a_need_nobody_meets_is_refused_before_any_forward_pass() -> None:
    world = ToyWorld()
    with pytest.raises(NeedsError, match=r"'reference', but its snapshots are \['policy'\]"):
        run(online(world=world, objective=dpo(0.1), snapshots=Snapshots(Table()), build=best_worst()))
    with pytest.raises(NeedsError, match="needs 'pairs', but the source gives"):
        run(online(world=world, objective=dpo(0.1)))
    with pytest.raises(NeedsError, match="but has no reward"):
        run(online(world=world, reward=None))
    with pytest.raises(NeedsError, match="no companion provides it; add a ValueHead"):
        run(online(world=world, objective=value_loss()))
    assert world.calls == []


def test_iterative_dpo_prefers_the_better_response() -> None:
    recipe = online(objective=dpo(0.5), build=best_worst(), estimator=plain())
    rewards = [m["reward"] for m in run(recipe).history]
    assert sum(rewards[-5:]) / 5 > 1.5


def test_raft_trains_on_the_best_rows() -> None:
    recipe = online(rounds=60, objective=sft(), build=keep_best(2), estimator=plain())
    rewards = [m["reward"] for m in run(recipe).history]
    assert sum(rewards[-5:]) / 5 > 1.5


def test_a_round_without_any_pair_changes_nothing() -> None:
    recipe = online(objective=dpo(0.5), build=best_worst(least=100), rounds=2, optim=Optim(lr=0.1, weight_decay=0.5))
    recipe = replace(recipe, estimator=plain())
    before = weights(recipe)
    with pytest.warns(UserWarning, match="first round had nothing to learn from"):
        done = run(recipe)
    assert torch.equal(before, weights(recipe))
    assert (done.history[0]["updates"], done.history[0]["updates_skipped"], done.steps) == (0, 1, 0)


def test_kl_in_the_reward_keeps_the_policy_near_its_reference() -> None:
    free, bound = (
        online(rounds=60),
        online(rounds=60, estimator=by_row(advantages.rloo, kl=5.0), track=("steps.logp.reference",)),
    )
    free = replace(free, track=("steps.logp.reference",))
    a, b = run(free).history[-1], run(bound).history[-1]
    assert b["objective/kl"] < 0.2 < 1.0 < a["objective/kl"]


def test_evaluations_run_when_due_and_at_the_end() -> None:
    done = run(online(rounds=5, evals=(Every(2, lambda r: {"at": float(r.round)}),)))
    assert [m.get("eval/at") for m in done.history] == [None, 2.0, None, 4.0, 5.0]


def test_progress_tells_rate_and_time_left() -> None:
    seen = []
    run(online(rounds=3), on_metrics=seen.append)
    assert [p.round for p in seen] == [1, 2, 3]
    assert seen[-1].remaining == 0 and all(p.rate > 0 for p in seen)
    assert seen[0].remaining == pytest.approx(2 / seen[0].rate)


def test_a_gradient_that_is_not_finite_stops_the_run_before_it_does_harm() -> None:
    def explode(step: int) -> Objective:
        return reinforce() * (math.inf if step == 2 else 1.0)

    recipe = online(objective=explode, rounds=5)
    with pytest.raises(GuerdonError, match="not finite"):
        run(recipe)
    assert torch.isfinite(weights(recipe)).all()


def test_the_objective_may_change_with_the_step() -> None:
    steps = []
    run(online(objective=lambda step: (steps.append(step), reinforce())[1], rounds=3))
    assert {0, 1, 2} <= set(steps)


def test_seeds_are_keys() -> None:
    first, again, other = (online(rounds=5, seed=Seed(s)) for s in (0, 0, 1))
    for recipe in (first, again, other):
        run(recipe)
    assert torch.equal(weights(first), weights(again))
    assert not torch.equal(weights(first), weights(other))
