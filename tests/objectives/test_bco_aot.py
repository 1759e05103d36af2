"""Losses that need the whole batch: BCO's shift and AOT's sorted margins, whatever the split."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from guerdon.batch import Batch, Pairs, Samples, Steps
from guerdon.errors import NeedsError
from guerdon.objectives import Objective, aot, bco, bco_pair, dpo
from guerdon.training import Micro, Optim, Recipe, Recorded, run
from guerdon.training.numbered import number_pairs, numbered_pairs
from guerdon.worlds.snapshots import Frozen, Snapshots
from tests.objectives.levels import of_pairs, slopes, value
from tests.training.toy import Symbols, Table, ToyWorld


def softplus(x: float) -> float:
    return math.log1p(math.exp(x))


def labelled(good: list[float], bad: list[float]) -> Batch:
    """Rows with these log-ratios, the desirable ones first."""
    ratio = torch.tensor([*good, *bad], dtype=torch.float64)[:, None]
    base = torch.full_like(ratio, -2.0)
    rows = {"desirable": torch.arange(len(good)), "undesirable": torch.arange(len(good), len(good) + len(bad))}
    logp = {"policy": (base + ratio).requires_grad_(), "reference": base}
    return Batch(Steps(torch.ones(len(ratio), 1, dtype=torch.bool), logp), rows=rows)


def in_parts(objective: Objective, batch: Batch, parts: int) -> tuple[float, Tensor]:
    """Value and gradient of micro-batches that know the whole batch's sums."""
    cuts = batch.split(parts)
    stats, whole = objective.couple(cuts), objective.denominators(cuts)
    total = torch.stack([objective.loss(part, whole, stats).value for part in cuts]).sum()
    (found,) = torch.autograd.grad(total, batch.read("steps.logp.policy"))
    return float(total.detach()), found[:, 0]


def means(objective: Objective, batch: Batch) -> dict[str, float]:
    return {k.partition("/")[2]: float(a / b) for k, (a, b) in objective.loss(batch).metrics.items()}


def test_bco_by_hand():
    """βρ: 0.5, −0.2 | −0.4; δ = ½(0.15 − 0.4) = −0.125, of the means of the sides, not of all rows."""
    batch = labelled([1.0, -0.4], [-0.8])
    hand = (softplus(-0.625) + softplus(0.075) + softplus(-0.275)) / 3
    assert value(bco(0.5), batch) == pytest.approx(hand, abs=1e-12)
    expected = {"desirable": 0.15, "undesirable": -0.4, "accuracy": 2 / 3, "shift": -0.125}
    assert means(bco(0.5), batch) == pytest.approx(expected, abs=1e-12)


def test_bco_takes_whole_responses():
    """Rows of two steps of log-ratio 0.5 and −0.2 are rows of 1.0 and −0.4."""
    short, long = labelled([1.0], [-0.4]), labelled([0.5], [-0.2])
    logp = {k: x.expand(-1, 2) for k, x in long.steps.logp.items()}
    twice = long.with_steps(Steps(torch.ones(2, 2, dtype=torch.bool), logp))
    assert value(bco(0.5), twice) == pytest.approx(value(bco(0.5), short), abs=1e-12)


def test_bco_of_one_side_alone_takes_its_mean():
    assert value(bco(0.5), labelled([1.0, -0.2], [])) == pytest.approx((softplus(-0.3) + softplus(0.3)) / 2, abs=1e-12)
    assert means(bco(0.5), labelled([1.0, -0.2], []))["shift"] == pytest.approx(0.2, abs=1e-12)


def test_bco_of_one_row_a_side_and_of_no_row():
    """βρ 0.3 | 0.9: δ = 0.6, and both lie on the wrong side of it. Nothing labelled costs nothing."""
    batch = labelled([0.3], [0.9])
    assert value(bco(1.0), batch) == pytest.approx(softplus(0.3), abs=1e-12)
    assert means(bco(1.0), batch)["accuracy"] == 0.0
    assert value(bco(0.5), labelled([], [0.8])) == pytest.approx(softplus(0.0), abs=1e-12)
    empty = labelled([1.0], [])
    nothing = bco(0.5).loss(replace(empty, rows=dict.fromkeys(empty.rows, torch.zeros(0, dtype=torch.int64))))
    assert nothing.value.item() == 0.0 and nothing.metrics["bco/shift"][0].item() == 0.0


def test_a_row_at_the_shift_counts_half():
    assert means(bco(1.0), labelled([0.5], [0.5]))["accuracy"] == 0.5


def test_bco_of_pairs_by_hand():
    """βρ: 0.5, −0.1 | −0.4, 0.2; δ = 0.05; one unit a pair."""
    batch = of_pairs([1.0, -0.2], [-0.8, 0.4])
    hand = (softplus(-0.45) + softplus(-0.45) + softplus(0.15) + softplus(0.15)) / 2
    assert value(bco_pair(0.5), batch) == pytest.approx(hand, abs=1e-12)
    assert means(bco_pair(0.5), batch)["accuracy"] == 0.5


def test_bco_of_pairs_is_bco_of_their_sides():
    won, lost = [1.0, -0.2, 3.0], [-0.8, 0.4, 0.0]
    sides = 2 * value(bco(0.5), labelled(won, lost))
    assert value(bco_pair(0.5), of_pairs(won, lost)) == pytest.approx(sides, abs=1e-12)


def test_the_shift_carries_no_gradient_and_is_weighted():
    """A pair of weight 0 moves nothing; the slope is −βσ(δ − βρ) a pair, δ a constant."""
    batch = of_pairs([1.0, 50.0], [-0.8, 7.0], weight=torch.tensor([1.0, 0.0]))
    assert value(bco_pair(0.5), batch) == pytest.approx(value(bco_pair(0.5), of_pairs([1.0], [-0.8])), abs=1e-6)
    half = of_pairs([1.0], [-0.8], weight=torch.tensor([0.5]))
    assert value(bco_pair(0.5), half) == pytest.approx(value(bco_pair(0.5), of_pairs([1.0], [-0.8])), abs=1e-6)
    s = 1 / (1 + math.exp(0.45))
    assert slopes(bco_pair(0.5), batch)[0] == pytest.approx(-0.5 * s, abs=1e-6)


def test_bco_ignores_a_level_shared_by_all():
    """δ moves along: BCO is blind to what is added to every log-ratio."""
    near, far = of_pairs([1.0, -0.2], [-0.8, 0.4]), of_pairs([8.0, 6.8], [6.2, 7.4])
    assert value(bco_pair(0.5), near) == pytest.approx(value(bco_pair(0.5), far), abs=1e-9)


def four(**more: Tensor) -> Batch:
    """u = 2, −1, 0.5, 3 by log-ratios 1.5, −1, 1.5, 1 over v = 0.5, 0, −1, 2."""
    base = [-1.0, -1.0, -2.0, -1.0, -1.5, -1.0, -1.0, -3.0]
    return number_pairs(of_pairs([1.5, -1.0, 1.5, 1.0], [0.0] * 4, base, **more))


def test_aot_by_hand():
    """Sorted u: −1, 0.5, 2, 3; sorted v: −1, 0, 0.5, 2. The differences by rank: 0, 0.5, 1.5, 1."""
    hand = sum(softplus(-0.4 * d) for d in (0.0, 0.5, 1.5, 1.0)) / 4
    assert value(aot(0.4), four()) == pytest.approx(hand, abs=1e-12)
    smooth = 0.1 * sum(softplus(0.4 * d) for d in (0.0, 0.5, 1.5, 1.0)) / 4
    assert value(aot(0.4, smoothing=0.1), four()) == pytest.approx(0.9 * hand + smooth, abs=1e-12)


def test_aot_slopes_stay_with_the_pairs():
    """The pair of rank 3 (u = 2) is compared with v = 0.5; the reference's side has no gradient."""
    s = 1 / (1 + math.exp(0.4 * 1.5))
    found = slopes(aot(0.4), four())
    assert found[0] == pytest.approx(-0.4 * s / 4, abs=1e-12)
    assert found[4] == pytest.approx(0.4 * s / 4, abs=1e-12)


def test_aot_of_one_pair_or_of_one_order_is_dpo():
    one = number_pairs(of_pairs([0.5], [-0.5]))
    assert value(aot(0.1), one) == pytest.approx(value(dpo(0.1), one), abs=1e-12)
    alike = number_pairs(of_pairs([0.5, 0.9, 2.0], [-0.5, 0.1, 0.3], [-1.0, -2.0, -3.0, -1.0, -3.0, -5.0]))
    assert value(aot(0.1), alike) == pytest.approx(value(dpo(0.1), alike), abs=1e-12)


def test_aot_leaves_pairs_without_weight_out_of_the_order():
    kept = number_pairs(of_pairs([1.5, 1.0], [0.0, 0.0], [-1.0, -1.0, -1.5, -3.0]))
    weight = torch.tensor([1.0, 0.0, 0.0, 1.0])
    assert value(aot(0.4), four(weight=weight)) == pytest.approx(value(aot(0.4), kept), abs=1e-6)


def test_aot_needs_numbers():
    with pytest.raises(NeedsError, match=r"columns\.pair"):
        aot().loss(of_pairs([0.5], [-0.5]))
    with pytest.raises(NeedsError, match="Pairs"):
        number_pairs(labelled([1.0], [0.0]))


def test_pairs_of_one_row_have_numbers_of_their_own():
    """A row that wins thrice; what is taken of the batch keeps its numbers."""
    steps = Steps(torch.ones(5, 1, dtype=torch.bool), {"policy": torch.zeros(5, 1)})
    batch = number_pairs(Batch(steps, pairs=Pairs(torch.tensor([2, 0, 2, 4, 2]), torch.tensor([0, 1, 1, 3, 1]))))
    assert batch.read("columns.pair").tolist() == [[0, 5], [1, 5], [1, 5], [4, 5], [4, 5]]
    from guerdon.objectives.aot import _numbers

    assert _numbers(batch).tolist() == [1, 0, 2, 4, 3]
    assert _numbers(batch.take(torch.tensor([4, 3]))).tolist() == [4]
    assert _numbers(batch.take(torch.tensor([2, 1, 0]))).tolist() == [1, 0, 2, 3]


def random_pairs(seed: int, count: int = 9) -> Batch:
    g = torch.Generator().manual_seed(seed)
    won, lost = torch.randn(2, count, generator=g)
    base = -3 * torch.rand(2 * count, generator=g)
    more = {"preferred": torch.rand(count, generator=g).double(), "weight": torch.rand(count, generator=g).double()}
    return number_pairs(of_pairs(won.tolist(), lost.tolist(), base.tolist(), **more))


@pytest.mark.parametrize("objective", [bco_pair(0.7), aot(0.7, 0.1)], ids=["bco_pair", "aot"])
@pytest.mark.parametrize("parts", [2, 4, 9])
def test_pairs_in_parts_are_the_whole(objective, parts):
    batch = random_pairs(parts)
    found, gradient = in_parts(objective, batch, parts)
    assert found == pytest.approx(value(objective, batch), abs=1e-12)
    assert gradient.tolist() == pytest.approx(slopes(objective, batch), abs=1e-12)


@pytest.mark.parametrize("parts", [2, 5, 8])
def test_labelled_rows_in_parts_are_the_whole(parts):
    batch = labelled([1.0, -0.2, 3.0, 0.1, 0.4], [-0.8, 2.0, -5.0])
    found, gradient = in_parts(bco(0.5), batch, parts)
    assert found == pytest.approx(value(bco(0.5), batch), abs=1e-12)
    assert gradient.tolist() == pytest.approx(slopes(bco(0.5), batch), abs=1e-12)


def recipe(objective: Objective, **changes: Any) -> Recipe:
    """Ten pairs of the toy world; the winner's first symbol is the smaller."""
    g = torch.Generator().manual_seed(5)
    symbols = torch.randint(0, 5, (20, 3), generator=g)
    symbols[:10, 0], symbols[10:, 0] = symbols[:10, 0] % 2, 3 + symbols[10:, 0] % 2
    samples = Samples(Symbols(symbols, torch.full((20,), 3)), [i % 10 % 4 for i in range(20)])
    given: dict[str, Any] = {
        "world": ToyWorld(),
        "snapshots": Snapshots(Table(), reference=Frozen()),
        "source": Recorded(samples, 10, Pairs(torch.arange(10), torch.arange(10, 20))),
        "objective": objective,
        "optim": Optim(lr=2.0, kind="sgd", clip=None),
        "rounds": 12,
        "build": numbered_pairs(),
    }
    return Recipe(**{**given, **changes})


@pytest.mark.parametrize("objective", [bco_pair(0.5), aot(0.5)], ids=["bco_pair", "aot"])
def test_a_run_does_not_depend_on_its_micro_batches(objective):
    weights = []
    for rows in (None, 6):
        made = recipe(objective, micro=Micro(rows=rows))
        history = run(made).history
        assert history[-1]["loss"] < history[0]["loss"]
        weights.append(made.snapshots.module.logits.detach().clone())  # type: ignore[union-attr]
    torch.testing.assert_close(weights[1], weights[0], atol=1e-5, rtol=0)
