"""Rows that other snapshots draw beside the policy's, the pairs made of them, and the presets that live on them."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch

from guerdon.batch import Batch
from guerdon.errors import GuerdonError, NeedsError
from guerdon.objectives import selm
from guerdon.training import Optim, Prompts, Recipe, Recorded, best_worst, run
from guerdon.training.drawing import DRAWN_BY
from guerdon.training.methods import find
from guerdon.training.presets import online
from guerdon.training.recipe import Build, Rollout
from guerdon.worlds import Frozen, Sampling, Snapshots
from guerdon.worlds.finite import FiniteWorld
from guerdon.worlds.snapshots import CopyEvery
from tests.training.test_presets import Gold, Logits
from tests.training.toy import Count, Table, ToyWorld
from tests.worlds.tiny import tiny


def exploring(build: Build, **changes: Any) -> Recipe:
    """Two rows of the policy and one of the reference for each of 4 prompts of the toy world."""
    recipe = Recipe(
        world=ToyWorld(),
        snapshots=Snapshots(Table(), reference=Frozen()),
        source=Prompts([0, 1, 2, 3], per_round=4, seed=None, columns={"tag": ["a", "b", "c", "d"]}),
        objective=selm(0.1, 0.1),
        optim=Optim(lr=0.1, kind="adam"),
        rounds=2,
        reward=Count(),
        per_start=2,
        beside={"reference": 1},
        build=build,
    )
    return replace(recipe, **changes)


def spied(build: Build, seen: list[tuple[Batch, Rollout, Batch]]) -> Build:
    def call(batch: Batch, rollout: Rollout) -> Any:
        for made in build(batch, rollout):
            seen.append((batch, rollout, made))
            yield made

    return Build("spied", call, build.gives, build.updates)


def test_the_references_rows_are_named_and_stay_in_the_batch() -> None:
    seen: list[tuple[Batch, Rollout, Batch]] = []
    done = run(exploring(spied(best_worst(keep="reference"), seen)))
    _, rollout, made = seen[0]
    assert len(rollout) == 12 and rollout.rows["reference"].tolist() == [8, 9, 10, 11]
    assert rollout.samples.columns[DRAWN_BY] == ["policy"] * 8 + ["reference"] * 4
    assert rollout.samples.columns["tag"] == [*"aabbccdd", *"abcd"]
    assert rollout.samples.partition("prompt").ids.tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 0, 1, 2, 3]
    drawn = made.columns["rollout_row"][made.rows["reference"]]
    assert drawn.tolist() == [8, 9, 10, 11]  # though some are in no pair
    assert made.pairs is not None
    value = rollout.scores.only().filled()
    ids = rollout.samples.partition("prompt").ids
    for w, l in zip(made.pairs.winner, made.pairs.loser, strict=True):
        best, worst = (int(made.columns["rollout_row"][i]) for i in (w, l))
        mine = value[ids == ids[best]]
        assert ids[best] == ids[worst] and value[best] == mine.max() and value[worst] == mine.min()
    assert {"loss/dpo", "loss/optimism", "optimism/log_ratio"} <= set(done.history[0])


def test_rows_that_are_there_for_the_bonus_alone_are_never_compared() -> None:
    seen: list[tuple[Batch, Rollout, Batch]] = []
    run(exploring(spied(best_worst(keep="reference", compare_kept=False), seen), rounds=6))
    compared = 0
    for _, _, made in seen:
        assert made.pairs is not None
        rows = torch.cat([made.pairs.winner, made.pairs.loser])
        assert (made.columns["rollout_row"][rows] < 8).all() and len(made.rows["reference"]) == 4
        compared += len(made.pairs)
    assert compared > 0


def test_the_rounds_reward_is_the_policys_alone() -> None:
    own = run(exploring(best_worst(keep="reference"), rounds=1)).history[0]["reward"]
    alone = run(exploring(best_worst(), beside={}, objective=find("dpo").objective(), rounds=1)).history[0]["reward"]
    assert own == alone


def test_micro_batches_add_up_with_rows_outside_of_pairs() -> None:
    from guerdon.training import Micro

    whole, cut = (exploring(best_worst(keep="reference"), micro=m, rounds=1) for m in (Micro(), Micro(rows=3)))
    run(whole)
    run(cut)
    found = [r.snapshots.module.logits for r in (whole, cut)]  # type: ignore[union-attr]
    assert torch.allclose(*found, atol=1e-7)


def test_what_cannot_be_drawn_is_refused_early() -> None:
    with pytest.raises(NeedsError, match="'guide'"):
        run(exploring(best_worst(keep="reference"), beside={"guide": 1}))
    with pytest.raises(NeedsError, match=r"rows\.reference"):
        run(exploring(best_worst(), beside={}))
    recorded = Recorded(FiniteWorld().sample(Snapshots(Logits()), [0, 1]), 2)
    with pytest.raises(GuerdonError, match="beside"):
        exploring(best_worst(keep="reference"), source=recorded)
    with pytest.raises(GuerdonError, match="beside"):
        exploring(best_worst(keep="reference"), greedy=True)


@pytest.mark.parametrize("method", ["selm", "xpo", "vpo-online"])
def test_the_exploring_presets_raise_the_exact_reward(method: str) -> None:
    world = FiniteWorld()
    rules = find(method).called(find(method).rules, find(method).settings({}), 90)
    snapshots = Snapshots(Logits(), **rules)

    def expected() -> float:
        with torch.no_grad():
            return float((world.log_probabilities(snapshots).exp() * Gold.table).sum(-1).mean())

    start = expected()
    prompts = Prompts(list(range(6)), per_round=6)
    run(online(method, world, snapshots, prompts, Gold(), rounds=90, optim=Optim(lr=0.05, kind="adam"), beta=0.1))
    best = float(Gold.table.max(-1).values.mean())
    assert expected() > start + 0.5 * (best - start)


def test_selms_reference_is_the_policy_of_the_iteration_before() -> None:
    preset = find("selm")
    assert preset.called(preset.rules, preset.settings({}), 90) == {"reference": CopyEvery(30)}
    assert preset.called(preset.rules, preset.settings({"iterations": 4}), 90) == {"reference": CopyEvery(23)}


def test_vpos_alpha_falls_with_the_updates() -> None:
    preset = find("vpo-online")
    at = preset.called(preset.objective, preset.settings({"beta": 0.1, "alpha": 0.5}))
    assert [at(step).terms[1].coefficient for step in (0, 1, 9)] == pytest.approx([0.05, 0.025, 0.005])
    still = preset.called(preset.objective, preset.settings({"beta": 0.1, "alpha": 0.5, "decay": False}))
    assert still(9).terms[1].coefficient == pytest.approx(0.05)


@pytest.mark.parametrize("method", ["selm", "xpo", "vpo-online"])
def test_on_a_causal_lm_rows_of_both_widths_are_joined(method: str) -> None:
    """The reference may draw longer responses than the policy; its log-probs are read at the joined width."""
    from guerdon.worlds.text import TextWorld

    preset = find(method)
    model = tiny("llama")
    snapshots = Snapshots(model, **preset.called(preset.rules, preset.settings({}), 6))
    prompts = Prompts([[1, 5, 6], [1, 7], [1, 8, 9, 10]], 3)
    seen: list[tuple[Batch, Rollout, Batch]] = []
    recipe = online(
        method,
        TextWorld(model),
        snapshots,
        prompts,
        Gold(),
        rounds=6,
        sampling=Sampling(limit=5),
        optim=Optim(lr=3e-3, kind="adam"),
    )
    history = run(recipe.with_(build=spied(recipe.build, seen))).history
    assert all(math.isfinite(m["loss"]) for m in history if "loss" in m)
    _, first, _ = seen[0]
    assert first.steps is not None
    drawn = first.rows["reference"]
    recorded, again = first.samples.payload.logp[drawn], first.steps.logprob("reference")[drawn]
    assert torch.allclose(recorded, again, atol=1e-4) and recorded.abs().sum() > 0  # the reference's own log-probs
