"""Hand values of the self-play losses (cards 75, 170) and what their minimisers are on a table."""

from __future__ import annotations

import math

import pytest
import torch

from guerdon.batch import Batch, Pairs, Steps
from guerdon.objectives import dno, dpo, sppo, sppo_hard, sppo_single
from tests.objectives.test_losses import T1, pair, value


def rated(policy: list[float], reference: list[float], rates: list[float], **columns: list[float]) -> Batch:
    """One step a row, with win rates."""
    logp = {"policy": torch.tensor(policy)[:, None].requires_grad_(), "reference": torch.tensor(reference)[:, None]}
    mask = torch.ones(len(policy), 1, dtype=torch.bool)
    return Batch(Steps(mask, logp), columns={"win_rate": torch.tensor(rates), **columns})


def test_sppo_by_hand() -> None:
    """Card 170: T1 has ρ = (½, −½); ½[(½ − 4)² + (−½ + 3)²] = 9.25."""
    assert value(sppo(10.0), rated(*T1, [0.9, 0.2])) == pytest.approx(9.25, abs=1e-5)
    assert value(sppo(1.0), rated(*T1, [1.0, 0.0])) == 0.0  # ρ stands at its target


def test_sppo_is_zero_at_the_last_policy_where_nothing_wins() -> None:
    assert value(sppo(), rated([-1.0, -2.0, -3.0], [-1.0, -2.0, -3.0], [0.5, 0.5, 0.5])) == 0.0


def test_sppo_hard_by_hand() -> None:
    """(½ − 5)² + (−½ + 5)², without the ½ of the soft form."""
    assert value(sppo_hard(10.0), pair(*T1)) == pytest.approx(40.5, abs=1e-5)
    assert value(sppo_hard(10.0), pair(*T1)) == pytest.approx(2 * value(sppo(10.0), rated(*T1, [1.0, 0.0])), abs=1e-4)


def test_sppo_single_by_hand() -> None:
    """p = .9: both targets are ±4, ½[(½ − 4)² + (−½ + 4)²] = 12.25; hard pairs have p = 1."""
    assert value(sppo_single(10.0), pair(*T1, preferred=torch.tensor([0.9]))) == pytest.approx(12.25, abs=1e-5)
    assert value(sppo_single(10.0), pair(*T1)) == pytest.approx(0.5 * value(sppo_hard(10.0), pair(*T1)), abs=1e-5)


def test_log_ratios_are_summed_not_averaged() -> None:
    """The same response cut into four steps has the same loss."""
    for objective in (sppo_hard(10.0), sppo_single(10.0)):
        assert value(objective, pair(*T1)) == pytest.approx(value(objective, pair(*T1, lengths=(2, 4))), abs=1e-4)
    steps = pair(*T1, lengths=(2, 4)).steps
    long = Batch(steps, columns={"win_rate": [0.9, 0.2]})
    assert value(sppo(10.0), long) == pytest.approx(9.25, abs=1e-5)


def test_rows_without_a_win_rate_or_a_step_have_no_weight() -> None:
    batch = rated([-1.0, -2.0, -7.0], [-1.5, -1.5, -1.0], [0.9, 0.2, math.nan])
    loss = sppo(10.0).loss(batch)
    assert loss.value.item() == pytest.approx(9.25, abs=1e-5)
    loss.value.backward()
    assert batch.steps.logp["policy"].grad[2].item() == 0.0
    assert loss.metrics["sppo/target"][1].item() == 2.0
    empty = Steps(torch.tensor([[True], [False]]), {k: v[:2] for k, v in batch.steps.logp.items()})
    assert value(sppo(10.0), Batch(empty, columns={"win_rate": [0.9, 0.2]})) == pytest.approx(12.25, abs=1e-5)


def test_with_the_exact_log_z_the_minimiser_is_the_multiplicative_update() -> None:
    """π_{t+1} = π_t exp(ηP̂)/Z has loss 0 and sums to 1; with η/2 in its place the loss is 0 at what does not sum to
    1 (card 170)."""
    law = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
    preference = torch.tensor([[0.5, 0.9, 0.2], [0.1, 0.5, 0.6], [0.8, 0.4, 0.5]], dtype=torch.float64)
    rate, eta = preference @ law, 3.0
    log_z = torch.log((law * torch.exp(eta * rate)).sum())
    after = law.log() + eta * rate - log_z
    mask = torch.ones(3, 1, dtype=torch.bool)
    steps = Steps(mask, {"policy": after[:, None], "reference": law.log()[:, None]})
    batch = Batch(steps, columns={"win_rate": rate, "log_z": log_z.expand(3)})
    assert after.exp().sum().item() == pytest.approx(1.0, abs=1e-12)
    assert value(sppo(eta, log_z="log_z"), batch) == pytest.approx(0.0, abs=1e-12)
    assert value(sppo(eta), batch) == pytest.approx((log_z.item() - eta / 2) ** 2, abs=1e-12)
    approximate = law.log() + eta * (rate - 0.5)
    assert approximate.exp().sum().item() == pytest.approx(math.exp(log_z.item() - eta / 2), abs=1e-12) != 1.0


def soft(gap: float, p: float) -> Batch:
    """A pair whose log-ratios differ by ``gap``."""
    return pair([gap - 9.0, -9.0], [-9.0, -9.0], preferred=torch.tensor([p]))


def test_dno_by_hand() -> None:
    """Card 75, p = .75: at ηΔ = 1 the loss is .563262, and its minimum is at ηΔ = log 3 = 1.098612."""
    assert value(dno(0.1), soft(10.0, 0.75)) == pytest.approx(0.563262, abs=1e-6)
    for gap, sign in ((10.98612 - 0.1, -1), (10.98612 + 0.1, 1)):
        batch = soft(gap, 0.75)
        (found,) = torch.autograd.grad(dno(0.1).loss(batch).value, batch.steps.logp["policy"])
        assert math.copysign(1, found[0].item()) == sign
    entropy = -0.75 * math.log(0.75) - 0.25 * math.log(0.25)
    assert value(dno(0.1), soft(10.98612, 0.75)) == pytest.approx(entropy, abs=1e-6)


def test_dno_is_symmetric_where_win_rates_are_equal_and_dpo_where_labels_are_hard() -> None:
    assert value(dno(0.3), soft(2.0, 0.5)) == pytest.approx(value(dno(0.3), soft(-2.0, 0.5)), abs=1e-6)
    assert value(dno(0.3), pair(*T1)) == pytest.approx(value(dpo(0.3), pair(*T1)), abs=1e-7)


def test_dno_exact_step_is_the_soft_update() -> None:
    """With all pairs of a table the gradient vanishes at π_t exp(r/η)/Z (card 75)."""
    law = torch.tensor([0.5, 0.3, 0.2])
    rate, eta = torch.tensor([0.61, 0.35, 0.58]), 0.25
    first, second = torch.triu_indices(3, 3, 1)
    pairs = Pairs(first, second, torch.sigmoid(rate[first] - rate[second]))
    after = torch.log_softmax(law.log() + rate / eta, -1)[:, None].requires_grad_()
    steps = Steps(torch.ones(3, 1, dtype=torch.bool), {"policy": after, "reference": law.log()[:, None]})
    (found,) = torch.autograd.grad(dno(eta).loss(Batch(steps, pairs=pairs)).value, after)
    assert found.abs().max().item() < 1e-7
