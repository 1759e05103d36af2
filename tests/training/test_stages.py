"""Builds, estimators and combination at its stages, by hand; worlds of heads and of predictions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from guerdon import advantages, shaping
from guerdon.batch import Batch, Channel, Pairs, Predictions, Samples, Scores, Seed, Steps
from guerdon.errors import GuerdonError
from guerdon.objectives import Objective, bradley_terry_loss, clipped, dpo, kl_penalty, reinforce, sft
from guerdon.training import (
    Companion,
    Micro,
    Multipliers,
    Optim,
    Recipe,
    Recorded,
    Rollout,
    best_worst,
    by_channel,
    by_row,
    generalised,
    keep_best,
    minibatches,
    run,
)
from guerdon.training.recipe import ROW
from guerdon.worlds.snapshots import Frozen, Snapshots
from tests.training.test_run import every_pair, online
from tests.training.toy import Table, ToyWorld


def rollout(values: Sequence[float | None], prompts: Sequence[str], **logp: Tensor) -> Rollout:
    mask = torch.ones(len(values), 2, dtype=torch.bool)
    return Rollout(
        Samples(None, list(prompts)),
        Steps(mask, logp),
        scores=Scores({"r": Channel.of(list(values))}),
        seed=Seed(4),
    )


def test_best_against_worst() -> None:
    here = rollout([1.0, 3.0, None, 2.0, 5.0, 5.0, 0.5], "aaaabbc")
    (batch,) = best_worst()(here.batch(), here)
    assert batch.columns[ROW].tolist() == [0, 1]  # b ties, c is alone, the invalid row is nobody's worst
    assert batch.pairs is not None
    assert batch.pairs.winner.tolist() == [1] and batch.pairs.loser.tolist() == [0]


def test_the_best_rows_are_kept_in_row_order() -> None:
    here = rollout([1.0, 3.0, 2.0, 5.0, 5.0, None], "aaabbb")
    (batch,) = keep_best(2)(here.batch(), here)
    assert batch.columns[ROW].tolist() == [1, 2, 3, 4]
    (batch,) = keep_best(2, above=2.5)(here.batch(), here)
    assert batch.columns[ROW].tolist() == [1, 3, 4]


def test_minibatches_visit_every_row_once_an_epoch_and_keep_pairs_whole() -> None:
    here = replace(rollout([0.0] * 8, "aabbccdd"), pairs=Pairs(torch.tensor([0, 2, 4, 6]), torch.tensor([1, 3, 5, 7])))
    parts = list(minibatches(2, 2)(here.batch(), here))
    rows = [p.columns[ROW].tolist() for p in parts]
    assert sorted(rows[0] + rows[1]) == sorted(rows[2] + rows[3]) == list(range(8))
    assert rows[0] != rows[2]
    assert all(p.pairs is not None and len(p.pairs) == 2 for p in parts)


def test_kl_in_the_reward_and_rows_without_peers() -> None:
    old, reference = torch.tensor([[-1.0, -1.0]] * 3), torch.tensor([[-1.5, -1.5], [-1.0, -1.0], [-1.0, -1.0]])
    here = rollout([2.0, 1.0, 7.0], "aab", old=old, reference=reference)
    batch = by_row(advantages.rloo, kl=0.5)(here)
    # Row 0: 2 − 0.5·1 = 1.5 against 1; row 2 has no peer and leaves the mask, so that it counts in no denominator.
    torch.testing.assert_close(batch.advantages["total"], torch.tensor([[0.5, 0.5], [-0.5, -0.5], [0.0, 0.0]]))
    assert batch.steps is not None and batch.steps.mask.tolist() == [[True, True], [True, True], [False, False]]


def test_gae_puts_the_reward_on_the_last_step() -> None:
    value = torch.tensor([[0.5, 1.0]])
    here = rollout([3.0], "a")
    here = replace(here, steps=Steps(torch.ones(1, 2, dtype=torch.bool), {}, {"value:total": value}))
    batch = generalised(lam=1.0, whiten=False)(here)
    torch.testing.assert_close(batch.advantages["total"], torch.tensor([[2.5, 2.0]]))
    torch.testing.assert_close(batch.returns["total"], torch.tensor([[3.0, 3.0]]))


def test_channels_are_normalised_before_they_are_added() -> None:
    here = rollout([1.0, 3.0], "aa")
    scores = Scores({"r": here.scores["r"], "cost": Channel(torch.tensor([100.0, 300.0]))})
    estimator = by_channel(
        lambda r, p, ok: advantages.group_relative(r, p, ok, "openrlhf"), shaping.weighted_sum(r=1.0, cost=-1.0)
    )
    batch = estimator(replace(here, scores=scores))
    torch.testing.assert_close(batch.advantages["total"], torch.zeros(2, 2), atol=1e-6, rtol=0)


def test_multipliers_move_what_the_estimator_reads() -> None:
    mover = Multipliers({"cost": 0.0}, lr=1.0)
    estimator = by_channel(advantages.rloo, shaping.lagrangian("r", ("cost",)), state=mover.state)
    here = rollout([1.0, 3.0], "aa")
    here = replace(here, scores=Scores({"r": here.scores["r"], "cost": Channel(torch.tensor([-2.0, 2.0]))}))
    # λ = 0: μ = ½, so ½·(∓2) + ½·(∓4).
    torch.testing.assert_close(estimator(here).advantages["total"][:, 0], torch.tensor([-3.0, 3.0]))
    mover.lambdas = torch.tensor([-50.0])  # μ = 0: the base alone
    torch.testing.assert_close(estimator(here).advantages["total"][:, 0], torch.tensor([-2.0, 2.0]))
    again = Multipliers({"cost": 0.0})
    again.load_state_dict(mover.state_dict())
    assert torch.equal(again.lambdas, mover.lambdas)


def test_a_sum_of_gradients_is_the_gradient_of_the_sum() -> None:
    def result(**changes: Any) -> tuple[Tensor, Mapping[str, float]]:
        objective = clipped() + 0.3 * kl_penalty()
        recipe = online(objective=objective, optim=Optim(lr=0.5, kind="sgd"), rounds=3, micro=Micro(rows=7), **changes)
        history = run(recipe).history
        return recipe.snapshots.module.logits.detach().clone(), history[-1]  # type: ignore[union-attr]

    (a, one), (b, two) = result(), result(combine=shaping.weighted_sum())
    torch.testing.assert_close(a, b, atol=1e-6, rtol=0)
    for key in ("loss", "kl", "clip_ratio", "loss/kl"):
        assert one[key] == pytest.approx(two[key], abs=1e-6), key


def test_the_minimum_norm_of_opposed_gradients_is_nothing() -> None:
    down = sft()
    opposed = down + Objective(tuple(replace(t, name="up", coefficient=-1.0) for t in down.terms))
    world, snapshots = ToyWorld(), Snapshots(Table(steps=1), reference=Frozen())
    samples, _ = every_pair(world, snapshots, lambda p, i, j: 1.0)
    before = snapshots.module.logits.detach().clone()
    optim = Optim(lr=1.0, kind="sgd")
    run(Recipe(world, snapshots, Recorded(samples, 20), opposed, optim, rounds=2, combine=shaping.minimum_norm()))
    torch.testing.assert_close(snapshots.module.logits.detach(), before, atol=1e-6, rtol=0)


class Heads:
    """A reward model as a world: no steps, one head."""

    def heads(self, snapshots: Snapshots, samples: Samples, names: Sequence[str]) -> Mapping[str, Tensor]:
        return {name: snapshots.module(samples.payload)[:, 0] for name in names}


def test_fitting_a_reward_model_is_a_run_too() -> None:
    g = torch.Generator().manual_seed(0)
    x, direction = torch.randn(200, 4, generator=g), torch.tensor([1.0, -1.0, 0.0, 2.0])
    score = x @ direction
    first, second = torch.arange(0, 200, 2), torch.arange(1, 200, 2)
    better = score[first] > score[second]
    pairs = Pairs(torch.where(better, first, second), torch.where(better, second, first))
    net = nn.Linear(4, 1)
    source = Recorded(Samples(x, list(range(200))), 20, pairs)
    recipe = Recipe(
        Heads(), Snapshots(net), source, bradley_terry_loss(), Optim(lr=0.1), rounds=60, micro=Micro(rows=8)
    )  # type: ignore[arg-type]
    assert run(recipe).history[-1]["rewards/accuracies"] > 0.9
    cosine = torch.cosine_similarity(net.weight.detach()[0], direction, dim=0)
    assert float(cosine) > 0.95


class Probes:
    """A forward-process world in one dimension: predictions of a target at shared probes."""

    def rescore(
        self, snapshots: Snapshots, samples: Samples, names: Sequence[str], stats: Sequence[str] = (), probe: Any = None
    ) -> Predictions:
        predicted = {}
        for name in names:
            with snapshots.using(name) as module, torch.set_grad_enabled(torch.is_grad_enabled() and name == "policy"):
                predicted[name] = module.weight[0, 0] * probe
        target = samples.payload[:, None].expand(probe.shape)
        return Predictions(torch.ones(probe.shape, dtype=torch.bool), target, predicted)


def test_predictions_share_one_probe_whatever_the_split() -> None:
    def probe(samples: Samples, seed: Seed) -> Tensor:
        return torch.stack([torch.rand(3, generator=seed.child(int(r)).torch()) for r in samples.column(ROW)])

    def result(micro: Micro) -> float:
        net = nn.Linear(1, 1, bias=False)
        nn.init.constant_(net.weight, 0.5)
        samples = Samples(torch.arange(6.0), list(range(6)))
        source = Recorded(samples, 3, Pairs(torch.tensor([0, 2, 4]), torch.tensor([1, 3, 5])))
        recipe = Recipe(
            Probes(),  # type: ignore[arg-type]
            Snapshots(net, reference=Frozen()),
            source,
            dpo(1.0),
            Optim(lr=0.1, kind="sgd"),
            rounds=3,
            probe=probe,
            micro=micro,
        )
        assert run(recipe).history[0]["rewards/margins"] == pytest.approx(0.0, abs=1e-6)
        return float(net.weight.detach())

    assert result(Micro()) != 0.5
    assert result(Micro()) == pytest.approx(result(Micro(rows=2)), abs=1e-6)


def test_an_estimator_must_give_what_it_says() -> None:
    liar = replace(by_row(advantages.rloo), call=lambda r: r.batch(), name="liar")
    with pytest.raises(GuerdonError, match=r"'liar' says that it gives 'advantages.total'"):
        run(online(estimator=liar))


def test_companions_see_the_round_and_join_its_metrics() -> None:
    class Spy(Companion):
        name = "spy"

        def __init__(self) -> None:
            self.seen: list[tuple[str, int, int, bool]] = []

        def before_round(self, round: Any) -> None:
            self.seen.append(("before", round.round, round.step, round.rollout is None))

        def after_round(self, round: Any) -> Mapping[str, float]:
            assert isinstance(round.batch, Batch) and "reward" in round.metrics
            self.seen.append(("after", round.round, round.step, round.rollout is None))
            return {"spy/rounds": round.round}

    spy = Spy()
    done = run(online(rounds=2, companions=(spy,), objective=reinforce(), build=minibatches(2)))
    assert spy.seen == [("before", 0, 0, True), ("after", 1, 2, False), ("before", 1, 2, True), ("after", 2, 4, False)]
    assert [m["spy/rounds"] for m in done.history] == [1, 2]
    with pytest.raises(GuerdonError, match="different names"):
        online(companions=(spy, Spy()))
