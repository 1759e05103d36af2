"""KTO: hand values, the reference point, splits, TRL's own loss, and a run on unpaired labels."""

from __future__ import annotations

import math
from collections import defaultdict
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from guerdon.batch import Batch, Predictions, Samples, Seed, Steps
from guerdon.errors import DataError, GuerdonError, NeedsError
from guerdon.objectives import Objective, dpo, kto
from guerdon.training import Micro, Optim, Recipe, Recorded, Unpaired, mismatched, run
from guerdon.worlds.snapshots import Frozen, Snapshots
from tests.training.toy import Symbols, Table, ToyWorld


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def of_ratios(ratios: list[float], **rows: list[int]) -> Batch:
    """One live step a row with these log-ratios, and NaN under the mask."""
    ratio, nan = torch.tensor(ratios)[:, None], torch.full((len(ratios), 1), float("nan"))
    policy = torch.cat([ratio - 2.0, nan], 1).requires_grad_()
    mask = torch.tensor([[True, False]] * len(ratios))
    logp = {"policy": policy, "reference": torch.cat([torch.full_like(ratio, -2.0), nan], 1)}
    named = {k: torch.tensor(v, dtype=torch.int64) for k, v in rows.items()}
    empty = {k: torch.tensor([], dtype=torch.int64) for k in ("desirable", "undesirable", "mismatched")}
    return Batch(Steps(mask, logp), rows={**empty, **named})


def five() -> Batch:
    """Two desirable, one undesirable, two mismatched rows."""
    return of_ratios([1.0, -0.6, -0.4, 0.9, -0.1], desirable=[0, 1], undesirable=[2], mismatched=[3, 4])


def gradient(objective: Objective, batch: Batch) -> Tensor:
    (found,) = torch.autograd.grad(objective.loss(batch).value, batch.read("steps.logp.policy"))
    return found[:, 0]


def test_hand_value():
    # z₀ = 0.5·(0.9 − 0.1)/2 = 0.2; βρ are 0.5, −0.3 and −0.2.
    good, bad = (1 - sigmoid(0.3)) + (1 - sigmoid(-0.5)), 1 - sigmoid(0.4)
    assert kto(0.5).loss(five()).value.item() == pytest.approx((good + bad) / 3, abs=1e-6)
    weighted = kto(0.5, desirable=1.5, undesirable=4.0)  # the factors do not enter the denominator
    assert weighted.loss(five()).value.item() == pytest.approx((1.5 * good + 4 * bad) / 3, abs=1e-6)


def test_metrics_by_hand():
    found = kto(0.5).loss(five()).metrics
    means = {k.removeprefix("kto/"): float(a / b) for k, (a, b) in found.items()}
    expected = {"desirable": 0.1, "undesirable": -0.2, "accuracy": 2 / 3, "reference_point": 0.2}
    assert means == pytest.approx(expected, abs=1e-6)


def test_one_mismatched_row_is_its_own_mean_and_a_tie_counts_half():
    """z₀ = 0.4: βρ of 0.3 is behind for the desirable row, 0.3 ahead for one undesirable row, and 0.4 a tie."""
    found = kto(1.0).loss(of_ratios([0.3, 0.3, 0.4, 0.4], desirable=[0], undesirable=[1, 2], mismatched=[3])).metrics
    means = {k.removeprefix("kto/"): float(a / b) for k, (a, b) in found.items()}
    expected = {"desirable": 0.3, "undesirable": 0.35, "accuracy": 0.5, "reference_point": 0.4}
    assert means == pytest.approx(expected, abs=1e-6)


def test_nothing_but_the_policy_learns():
    batch = five()
    logp = {"policy": batch.steps.logp["policy"], "reference": batch.steps.logp["reference"].requires_grad_()}
    loss = kto(0.5).loss(batch.with_steps(Steps(batch.steps.mask, logp))).value
    _, reference = torch.autograd.grad(loss, list(logp.values()), allow_unused=True)
    assert reference is None


def test_the_reference_point_is_clamped_after_the_mean_over_the_whole_batch():
    """trl#1911: one part's mean is positive, the whole one's negative, so z₀ is 0."""
    batch = of_ratios([1.0, -1.0, 2.0, -6.0], desirable=[0], undesirable=[1], mismatched=[2, 3])
    expected = (1 - sigmoid(0.5) + 1 - sigmoid(0.5)) / 2
    assert kto(0.5).loss(batch).value.item() == pytest.approx(expected, abs=1e-6)
    parts = [batch.take(torch.tensor([0, 2])), batch.take(torch.tensor([1, 3]))]
    stats, whole = kto(0.5).couple(parts), kto(0.5).denominators(parts)
    assert sum(kto(0.5).loss(p, whole, stats).value.item() for p in parts) == pytest.approx(expected, abs=1e-6)


def test_without_mismatched_rows_the_reference_point_is_zero():
    batch = of_ratios([1.0, -0.4], desirable=[0], undesirable=[1])
    assert kto(0.5).loss(batch).value.item() == pytest.approx((1 - sigmoid(0.5) + 1 - sigmoid(0.2)) / 2, abs=1e-6)


def test_a_batch_that_does_not_name_its_rows_is_refused():
    batch = five()
    for name in ("desirable", "undesirable", "mismatched"):
        rows = {k: v for k, v in batch.rows.items() if k != name}
        with pytest.raises(NeedsError, match=f"rows.{name}"):
            kto().loss(Batch(batch.steps, rows=rows))


def test_no_gradient_through_the_reference_point():
    found = gradient(kto(0.5), five())
    assert found[3:].tolist() == [0.0, 0.0]
    s = sigmoid(0.3)
    assert found[0].item() == pytest.approx(-0.5 * s * (1 - s) / 3, abs=1e-6)
    assert found[2].item() > 0  # an undesirable row's likelihood falls


def test_nothing_labelled_is_exactly_zero():
    assert kto().loss(of_ratios([1.0], mismatched=[0])).value.item() == 0.0


def test_extreme_log_ratios_stay_finite():
    batch = of_ratios([1e4, -1e4, 1e4, -1e4, 3e4], desirable=[0, 1], undesirable=[2, 3], mismatched=[4])
    assert math.isfinite(kto(10.0).loss(batch).value.item())
    assert bool(torch.isfinite(gradient(kto(10.0), batch)).all())


@pytest.mark.parametrize("parts", [2, 3, 7, 14])
def test_neither_value_nor_gradient_depends_on_the_split(parts):
    """trl#2153, 6f99f42f7: the statistic of a micro-batch, and denominators of micro-batches averaged. Named sets
    follow their rows through ``Batch.split``."""
    g = torch.Generator().manual_seed(0)
    order = torch.randperm(14, generator=g).tolist()
    named = {"desirable": order[:5], "undesirable": order[5:8], "mismatched": order[8:]}
    batch = of_ratios((3 * torch.rand(14, generator=g) - 0.5).tolist(), **named)
    objective = kto(0.5, 1.3, 0.7)
    whole = gradient(objective, batch)
    value = objective.loss(batch).value.item()
    cuts = batch.split(parts)
    stats, denominators = objective.couple(cuts), objective.denominators(cuts)
    shares = torch.stack([objective.loss(p, denominators, stats).value for p in cuts])
    (found,) = torch.autograd.grad(shares.sum(), batch.read("steps.logp.policy"))
    assert shares.sum().item() == pytest.approx(value, abs=1e-6)
    torch.testing.assert_close(found[:, 0], whole, atol=1e-7, rtol=1e-5)


def test_denoising_steps_are_steps():
    """On predictions the log-ratio is a difference of squared errors; nothing here knows tokens."""
    shape = (3, 2, 4)
    g = torch.Generator().manual_seed(1)
    target, policy, reference = (torch.randn(shape, generator=g) for _ in range(3))
    mask = torch.ones(3, 2, dtype=torch.bool)
    told = Predictions(mask, target, {"policy": policy, "reference": reference})
    rows = {"desirable": torch.tensor([0]), "undesirable": torch.tensor([1]), "mismatched": torch.tensor([2])}
    steps = told.as_steps()
    ratio = (steps.logp["policy"] - steps.logp["reference"]).sum(-1)
    z0 = max(0.0, 0.1 * float(ratio[2]))
    expected = (1 - sigmoid(0.1 * float(ratio[0]) - z0) + 1 - sigmoid(z0 - 0.1 * float(ratio[1]))) / 2
    assert kto().loss(Batch(predictions=told, rows=rows)).value.item() == pytest.approx(expected, abs=1e-6)


def trl_loss(ratio: Tensor, base: Tensor, label: Tensor, other: Tensor, weights: tuple[float, float]) -> float:
    """TRL's KTO loss of rows with these log-probs: its own ``_compute_loss`` on a trainer that is nothing but what that
    function reads. Each row has one response token."""
    trainer_module = pytest.importorskip("trl.trainer.kto_trainer")
    n = len(ratio)

    def model(values: Tensor) -> Any:
        def call(**_: Any) -> Any:
            return SimpleNamespace(
                log_probs=values[:, None], entropy=torch.zeros(n, 1), mean_logits=torch.zeros(n, 1), loss=None
            )

        return call

    accelerator = SimpleNamespace(device=torch.device("cpu"), gather_for_metrics=lambda x: x, num_processes=1)
    metrics = {"train": defaultdict(list), "eval": defaultdict(list)}
    ids, ones = torch.zeros(n, 2, dtype=torch.int64), torch.ones(n, 2, dtype=torch.int64)
    mask = torch.tensor([[0, 1]] * n)
    inputs = {
        "input_ids": ids,
        "attention_mask": ones,
        "completion_mask": mask,
        "KL_input_ids": ids,
        "KL_attention_mask": ones,
        "KL_completion_mask": mask,
        "label": label,
        "ref_logps": base,
        "ref_KL_logps": base,
    }
    fake = SimpleNamespace(
        model=SimpleNamespace(training=True),
        accelerator=accelerator,
        calculate_KL=True,
        _compute_kl_logps=lambda *_: base + other,
        aux_loss_enabled=False,
        precompute_ref_logps=True,
        loss_type="kto",
        beta=0.3,
        desirable_weight=weights[0],
        undesirable_weight=weights[1],
        _metrics=metrics,
        _total_train_tokens=0,
        _tp_size=1,
        args=SimpleNamespace(),
    )
    return float(trainer_module.KTOTrainer._compute_loss(fake, model(base + ratio), inputs, False))


@pytest.mark.parametrize("shift", [0.5, -3.0])
def test_trl_computes_the_same(shift):
    """With the same mismatched log-ratios, a positive and a negative mean of them."""
    g = torch.Generator().manual_seed(3)
    ratio, base, other = torch.randn(6, generator=g), -torch.rand(6, generator=g), torch.randn(6, generator=g) + shift
    label = torch.tensor([True, False, False, True, True, False])
    batch = of_ratios(
        [*ratio.tolist(), *other.tolist()],
        desirable=label.nonzero()[:, 0].tolist(),
        undesirable=(~label).nonzero()[:, 0].tolist(),
        mismatched=list(range(6, 12)),
    )
    expected = trl_loss(ratio, base, label, other, (1.2, 0.8))
    assert kto(0.3, 1.2, 0.8).loss(batch).value.item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("prompts", [[0, 1], [0, 1, 2], [0, 0, 1], [0, 0, 1, 1, 0], [3, 1, 1, 1, 2, 3, 3]])
def test_no_row_gets_a_response_to_its_own_prompt(prompts):
    """trl#1911: matched pairs among the mismatched ones on odd batches."""
    other = mismatched(prompts).tolist()
    n = len(prompts)
    assert all(prompts[i] != prompts[j] for i, j in enumerate(other))
    for i, j in enumerate(other):  # nothing between is of another prompt
        assert all(prompts[k % n] == prompts[i] for k in range(i + 1, j if j > i else j + n))


def test_distinct_prompts_use_each_response_once():
    assert mismatched(["a", "b", "c", "d", "e"]).tolist() == [1, 2, 3, 4, 0]


@pytest.mark.parametrize("prompts", [[], ["a"], ["a", "a", "a"]])
def test_a_single_prompt_has_no_mismatched_rows(prompts):
    with pytest.raises(DataError, match="two prompts"):
        mismatched(prompts)


def toy(rows: int = 12) -> tuple[Samples, Tensor]:
    """Labelled rows of the toy world (desirable where the first symbol is 0 or 1), and their mismatched ones behind."""
    g = torch.Generator().manual_seed(5)
    symbols = torch.randint(0, 5, (rows, 3), generator=g)
    prompts = [i % 4 for i in range(rows)]
    desirable = symbols[:, 0] < 2
    other = mismatched(prompts)
    symbols = torch.cat([symbols, symbols[other]])
    return Samples(Symbols(symbols, torch.full((2 * rows,), 3)), [*prompts, *prompts]), desirable


def recipe(**changes: Any) -> Recipe:
    samples, desirable = toy()
    given: dict[str, Any] = {
        "world": ToyWorld(),
        "snapshots": Snapshots(Table(), reference=Frozen()),
        "source": Unpaired(samples, desirable, 5),
        "objective": kto(0.5),
        "optim": Optim(lr=0.05, kind="adam"),
        "rounds": 30,
    }
    return Recipe(**{**given, **changes})


def test_a_draw_holds_each_labelled_row_with_its_mismatched_one():
    samples, desirable = toy()
    source = Unpaired(samples, desirable, 5, Seed(3))
    position, seen = 0, []
    for _ in range(12):  # five epochs, crossing their ends
        draw = source.draw(position)
        assert draw.samples is not None and draw.ids is not None
        assert draw.position == position + 5
        assert draw.rows["mismatched"].tolist() == [1, 3, 5, 7, 9]
        labelled = sorted([*draw.rows["desirable"].tolist(), *draw.rows["undesirable"].tolist()])
        assert labelled == [0, 2, 4, 6, 8]
        first, second = draw.ids[::2], draw.ids[1::2]
        assert torch.equal(second, first + 12)
        assert torch.equal(draw.rows["desirable"], 2 * desirable[first].nonzero()[:, 0])
        assert draw.samples.prompts[::2] == draw.samples.prompts[1::2]
        seen += first.tolist()
        position = draw.position
    assert sorted(seen) == sorted(5 * list(range(12)))


def test_run_learns_from_unpaired_labels():
    """The implicit reward parts what is desirable from what is not."""
    done = run(recipe())
    assert done.history[0]["loss"] == pytest.approx(0.5, abs=1e-6)  # ρ = 0 everywhere at the start
    assert done.history[-1]["loss"] < 0.45
    last = done.history[-1]
    assert last["kto/desirable"] > 0 > last["kto/undesirable"]


def test_micro_batches_change_nothing_and_one_needs_one_pass():
    """Sums over all micro-batches come before any loss; a single micro-batch's forward pass serves both."""
    weights, calls = [], []
    for rows in (None, 4, 3):
        made = recipe(rounds=6, micro=Micro(rows=rows))
        run(made)
        weights.append(made.snapshots.module.logits.detach().clone())  # type: ignore[union-attr]
        calls.append(made.world.calls.count("policy"))  # type: ignore[attr-defined]
    torch.testing.assert_close(weights[1], weights[0], atol=1e-5, rtol=0)
    torch.testing.assert_close(weights[2], weights[0], atol=1e-5, rtol=0)
    assert calls == [6, 6 * 2 * 3, 6 * 2 * 4]


def test_a_source_without_names_is_refused_before_any_pass():
    samples, _ = toy()
    with pytest.raises(NeedsError, match=r"rows\.desirable"):
        run(recipe(source=Recorded(samples, 5)))


def test_wrong_sizes_are_named():
    samples, desirable = toy()
    with pytest.raises(DataError, match="24 rows"):
        Unpaired(samples.take(torch.arange(20)), desirable, 5)
    with pytest.raises(DataError, match="bool"):
        Unpaired(samples, desirable.float(), 5)
    with pytest.raises(GuerdonError, match="per_round"):
        Unpaired(samples, desirable, 0)


def test_it_adds_to_other_terms():
    objective = kto() + 0.5 * dpo()
    assert [t.name for t in objective.terms] == ["kto", "dpo"] and objective.coupled
