"""CREAM (card 41): consistency, labels of one's own, its loss, and rounds that shift the snapshots."""

from __future__ import annotations

import math

import pytest
import torch

from guerdon.batch import Batch, Pairs, Samples, Seed, Steps
from guerdon.errors import GuerdonError
from guerdon.objectives import cream, dpo
from guerdon.training import (
    Companion,
    Prompts,
    Rollout,
    consistencies,
    consistency,
    implicit_reward,
    run,
    self_labelled,
)
from guerdon.training.methods import find
from guerdon.training.presets import online
from guerdon.worlds import Frozen, Snapshots
from guerdon.worlds.finite import FiniteWorld, TabularPolicy

FIVE = torch.ones(1, 5, dtype=torch.bool)
UP = torch.tensor([[1.0, 2.0, 3.0, 4.0, 5.0]])


def pair(confidence: float) -> Batch:
    """T1: log π −1 and −2, log of the round's start −1.5 both."""
    logp = {"policy": torch.tensor([[-1.0], [-2.0]], requires_grad=True), "round": torch.full((2, 1), -1.5)}
    logp["reference"] = logp["round"]
    pairs = Pairs(torch.tensor([0]), torch.tensor([1]), torch.tensor([confidence]))
    return Batch(Steps(torch.ones(2, 1, dtype=torch.bool), logp), pairs=pairs)


def test_rankings_alike_and_reversed():
    for measure in ("kendall", "spearman", "top_order"):
        assert consistency(UP, 3 * UP + 1, FIVE, measure).item() == 1.0
        assert consistency(UP, -UP, FIVE, measure).item() == 0.0
    # one of ten pairs in the wrong order: τ = 0.8
    assert consistency(UP, torch.tensor([[2.0, 1.0, 3.0, 4.0, 5.0]]), FIVE).item() == pytest.approx(0.9)


def test_what_is_not_finite_is_left_out():
    broken = torch.tensor([[1.0, float("nan"), 3.0, 4.0, float("inf")]])
    assert consistency(UP, broken, FIVE).item() == 1.0
    assert consistency(torch.zeros(1, 5), UP, FIVE).item() == 1.0  # constant: ranked by place, never NaN
    with pytest.raises(GuerdonError, match="kendall, spearman, top_order"):
        consistency(UP, UP, FIVE, "tau")


def test_consistencies_are_kept_by_id():
    """Skipped ids must not shift the others' values, as a list beside a set of keys would."""
    now = {"a": [1, 2], "b": [1, None], "c": [1, 2, 3], "d": [2, 1], "e": [1, 2]}
    before = {"e": [2, 1], "d": [2, 1], "c": [1, 2], "b": [1, 2], "a": [1, 2], "f": [0, 1]}
    assert consistencies(now, before) == {"a": 1.0, "d": 1.0, "e": 0.0}


def test_loss_by_hand():
    assert cream(0.1).loss(pair(0.8)).value.item() == pytest.approx(0.664397, abs=1e-6)
    assert cream(0.1).loss(pair(1.0)).value.item() == dpo(0.1).loss(pair(1.0)).value.item()
    conservative = dpo(0.1, smoothing=0.2).loss(pair(1.0)).value.item()
    assert cream().loss(pair(0.8)).value.item() == pytest.approx(conservative, abs=1e-7)


@pytest.mark.parametrize("confidence", [0.5, 0.8, 0.2])
def test_the_optimum_is_the_logit_of_the_confidence(confidence):
    h = math.log(confidence / (1 - confidence)) / 0.1
    whole = pair(confidence)
    at = torch.tensor([[-1.5 + h / 2], [-1.5 - h / 2]], requires_grad=True)
    batch = Batch(Steps(whole.steps.mask, {**whole.steps.logp, "policy": at}), pairs=whole.pairs)
    (slope,) = torch.autograd.grad(cream(0.1).loss(batch).value, at)
    assert slope.abs().max().item() < 1e-7


def rollout(now: list[float], before: list[float], prompts: list[int]) -> Rollout:
    """Rows of one step whose implicit rewards these are."""
    zero = torch.zeros(len(now), 1)
    logp = {"round": torch.tensor(now)[:, None], "previous": torch.tensor(before)[:, None], "reference": zero}
    steps = Steps(torch.ones(len(now), 1, dtype=torch.bool), logp)
    return Rollout(Samples(torch.zeros(len(now), 1), prompts), steps)


def labelled(drawn: Rollout, **options) -> Batch:
    (batch,) = self_labelled(**options)(drawn.batch(), drawn)
    return batch


DRAWN = rollout([0.1, 0.5, 0.3, 2.0, 1.0, 3.0], [0.1, 0.3, 0.5, 3.0, 2.0, 1.0], [7, 7, 7, 8, 8, 8])


def test_best_against_worst_with_the_mean_confidence():
    batch = labelled(DRAWN)
    rows = batch.columns["rollout_row"]
    assert rows[batch.pairs.winner].tolist() == [1, 5]
    assert rows[batch.pairs.loser].tolist() == [0, 4]
    # τ of the first prompt 1/3, of the second −1/3: C = 2/3 and 1/3
    assert batch.pairs.preferred.tolist() == pytest.approx([0.5, 0.5])
    assert labelled(DRAWN, average=False).pairs.preferred.tolist() == pytest.approx([2 / 3, 1 / 3])
    assert labelled(DRAWN, average=False, measure="top_order").pairs.preferred.tolist() == [0.0, 0.0]
    assert labelled(DRAWN, measure=None).pairs.preferred.tolist() == [1.0, 1.0]


def test_equal_rewards_give_no_pair():
    drawn = rollout([0.5, 0.5, 1.0, 2.0], [0.1, 0.2, 0.3, 0.4], [1, 1, 2, 2])
    batch = labelled(drawn)
    assert len(batch) == 2 and batch.columns["rollout_row"].tolist() == [2, 3]
    assert batch.pairs.preferred.tolist() == [1.0]
    nothing = rollout([0.5, 0.5], [0.1, 0.2], [1, 1])
    assert list(self_labelled()(nothing.batch(), nothing)) == []


def test_implicit_rewards_by_hand():
    mask = torch.tensor([[True, True], [True, False]])
    now = torch.tensor([[-1.0, -2.0], [-1.0, float("nan")]])
    steps = Steps(mask, {"round": now, "previous": torch.full((2, 2), -2.0), "reference": torch.full((2, 2), -2.0)})
    assert implicit_reward(steps, "round").tolist() == [1.0, 1.0]
    assert implicit_reward(steps, "round", per="average").tolist() == [0.5, 1.0]
    # still the start itself: the mean log-prob of a step ranks
    steps = Steps(mask, {"round": now, "reference": now})
    assert implicit_reward(steps, "round").tolist() == [-1.5, -1.0]
    with pytest.raises(GuerdonError, match="'total' or 'average'"):
        implicit_reward(steps, "round", per="sum")


def test_rounds_shift_the_snapshots():
    """Six rounds in three iterations: 'round' is taken at rounds 0, 2, 4 and 'previous' lags one behind."""
    table = torch.randn(4, 6, generator=torch.Generator().manual_seed(0))
    preset = find("cream")
    world, snapshots = FiniteWorld(), Snapshots(TabularPolicy(table), **preset.called(preset.rules, {}))
    assert snapshots.rule("round") == snapshots.rule("previous") == Frozen()
    recipe = online("cream", world, snapshots, Prompts([0, 1, 2, 3], 4), None, rounds=6, seed=Seed(0))
    assert recipe.per_start == 5
    seen: list[dict[str, str]] = []

    class Watch(type(recipe.companions[0])):
        name = "watch"

        def before_round(self, round):
            seen.append({k: round.snapshots.version(k) for k in ("round", "previous", "reference")})

    done = run(recipe.with_(companions=(*recipe.companions, Watch())))
    taken = [int(v["round"].partition("@")[2]) for v in seen]
    steps = [int(m["step"]) for m in done.history]
    assert taken == [0, 0, steps[1], steps[1], steps[3], steps[3]]
    assert [v["reference"] for v in seen] == ["reference@0"] * 6
    first, second = snapshots.parameters("previous"), snapshots.parameters("round")
    assert not torch.equal(first["logits"], second["logits"])
    assert not torch.equal(first["logits"], snapshots.parameters("reference")["logits"])


def test_a_killed_run_goes_on_with_its_snapshots(tmp_path):
    armed = [False]

    class Kill(Companion):
        name = "kill"

        def before_round(self, round):
            if armed[0] and round.round == 3:
                raise KeyboardInterrupt

    def fresh():
        table = torch.randn(4, 6, generator=torch.Generator().manual_seed(0))
        snapshots = Snapshots(TabularPolicy(table), **{name: Frozen() for name in ("reference", "round", "previous")})
        recipe = online("cream", FiniteWorld(), snapshots, Prompts([0, 1, 2, 3], 4), None, rounds=6)
        return recipe.with_(companions=(*recipe.companions, Kill()))

    whole, parted = fresh(), fresh()
    run(whole)
    armed[0] = True
    with pytest.raises(KeyboardInterrupt):
        run(parted, tmp_path, save_every=1)
    armed[0] = False
    again = fresh()
    run(again, tmp_path, save_every=1)
    for name in ("policy", "round", "previous"):
        one, other = (r.snapshots.parameters(name)["logits"] for r in (whole, again))
        assert torch.equal(one, other)


def test_without_a_reward_the_policy_still_moves_and_keeps_its_law():
    table = torch.randn(4, 6, generator=torch.Generator().manual_seed(0))
    preset = find("cream")
    snapshots = Snapshots(TabularPolicy(table), **preset.called(preset.rules, {}))
    done = run(online("cream", FiniteWorld(), snapshots, Prompts([0, 1, 2, 3], 4), None, rounds=4))
    assert all(math.isfinite(m["loss"]) for m in done.history if "loss" in m)
    assert not torch.equal(snapshots.module.logits, table)
