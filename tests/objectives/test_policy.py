"""The clipped surrogate, REINFORCE and the per-step regularisers by hand: one step a row unless said otherwise."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from guerdon.batch import Batch, Steps
from guerdon.objectives import Objective, clipped, entropy_bonus, kl_penalty, reinforce

RATIOS, GAINS = (1.5, 0.5, 1.5, 0.5), (1.0, 1.0, -1.0, -1.0)


def rows(log_ratios: list[list[float]], gains: list[list[float]], lengths: list[int] | None = None) -> Batch:
    """Rows with log π/π_old and advantages [N,T]; float64. Whatever could have a gradient would take one."""
    ratio = torch.tensor(log_ratios, dtype=torch.float64)
    width = ratio.shape[1]
    mask = torch.arange(width) < torch.tensor(lengths or [width] * len(ratio))[:, None]
    old = torch.full_like(ratio, -1.0).requires_grad_()
    entropy = torch.full_like(ratio, 0.3).cumsum(0)
    logp = {"policy": (ratio - 1).requires_grad_(), "old": old, "reference": old}
    gain = torch.tensor(gains, dtype=torch.float64).requires_grad_()
    return Batch(Steps(mask, logp, {"entropy": entropy}), advantages={"total": gain})


def four() -> Batch:
    return rows([[math.log(r)] for r in RATIOS], [[a] for a in GAINS])


def slopes(objective: Objective, batch: Batch) -> Tensor:
    """The gradient to log π; that to the old policy, the reference and the advantages must not exist."""
    logp, gain = batch.read("steps.logp.policy"), batch.read("advantages.total")
    loss = objective.loss(batch).value
    found, *others = torch.autograd.grad(loss, (logp, batch.read("steps.logp.old"), gain), allow_unused=True)
    assert all(x is None for x in others)
    return found


def test_the_clipped_surrogate_by_hand():
    """min(ρA, clip(ρ)A): 1.2, 0.5, −1.5, −0.8."""
    assert clipped(0.2).loss(four()).value.item() == pytest.approx(-(1.2 + 0.5 - 1.5 - 0.8) / 4, abs=1e-12)
    assert slopes(clipped(0.2), four())[:, 0].tolist() == pytest.approx([0.0, -0.125, 0.375, 0.0], abs=1e-12)
    apart = clipped(0.2, high=0.3).loss(four()).value.item()
    assert apart == pytest.approx(-(1.3 + 0.5 - 1.5 - 0.8) / 4, abs=1e-12)


def test_the_dual_clip_bounds_what_a_bad_action_costs():
    """At ρ = 5 and A = −1 the loss is 3, not 5; at A = 1 the dual clip plays no part."""
    batch = rows([[math.log(5.0)], [math.log(5.0)], [math.log(2.0)]], [[-1.0], [1.0], [-1.0]])
    assert clipped(0.2, dual=3.0).loss(batch).value.item() == pytest.approx((3 - 1.2 + 2) / 3, abs=1e-12)
    assert slopes(clipped(0.2, dual=3.0), batch)[:, 0].tolist() == pytest.approx([0.0, 0.0, 2 / 3], abs=1e-12)


def test_a_ratio_beyond_all_numbers_has_no_slope():
    batch = rows([[1000.0], [1000.0], [1000.0]], [[1.0], [0.5], [-1.0]])
    assert clipped(0.2, dual=3.0).loss(batch).value.item() == pytest.approx((-1.2 - 0.6 + 3) / 3, abs=1e-12)
    assert slopes(clipped(0.2, dual=3.0), batch)[:, 0].tolist() == [0.0, 0.0, 0.0]


def test_a_good_action_has_no_slope_beyond_all_numbers_without_a_dual_clip_either():
    batch = rows([[1000.0], [1000.0]], [[1.0], [0.5]])
    assert clipped(0.2).loss(batch).value.item() == pytest.approx(-0.9, abs=1e-12)
    assert slopes(clipped(0.2), batch)[:, 0].tolist() == [0.0, 0.0]


def test_the_ratio_of_a_row_is_the_geometric_mean():
    """Two steps of log-ratio 0.1 and 0.3; one of 0.1; a row without steps. What is masked plays no part."""
    batch = rows([[0.1, 0.3], [0.1, 7.0], [5.0, 5.0]], [[1.0, 1.0], [-1.0, 9.0], [9.0, 9.0]], [2, 1, 0])
    objective = clipped(0.5, level="sequence")
    assert objective.loss(batch).value.item() == pytest.approx((-2 * math.exp(0.2) + math.exp(0.1)) / 3, abs=1e-12)
    expected = [[-math.exp(0.2) / 3] * 2, [math.exp(0.1) / 3, 0.0], [0.0, 0.0]]
    torch.testing.assert_close(slopes(objective, batch), torch.tensor(expected, dtype=torch.float64))


def test_what_was_clipped_and_how_far_it_went():
    """Two of four are cut; k3 of the old policy is ρ − 1 − log ρ."""
    found = {k: float(a / b) for k, (a, b) in clipped(0.2).loss(four()).metrics.items()}
    assert found["clipped/clip_fraction"] == 0.5
    assert found["clipped/kl_old"] == pytest.approx(sum(r - 1 - math.log(r) for r in RATIOS) / 4, abs=1e-12)
    for ratio, gain, share in ((1.5, 0.5, 1.0), (1.5, -0.5, 0.0), (0.5, 0.5, 0.0), (0.5, -0.5, 1.0)):
        cut, count = clipped(0.2).loss(rows([[math.log(ratio)]], [[gain]])).metrics["clipped/clip_fraction"]
        assert (cut / count).item() == share
    inside = rows([[0.1, 3.0], [-0.1, 3.0]], [[1.0, 1.0], [-1.0, 1.0]], [1, 1])
    total, count = clipped(0.2).loss(inside).metrics["clipped/clip_fraction"]
    assert (total.item(), count.item()) == (0.0, 2.0)
    total, count = clipped(0.2).loss(inside).metrics["clipped/kl_old"]
    expected = math.exp(0.1) - 1.1 + math.exp(-0.1) - 0.9
    assert (total.item(), count.item()) == (pytest.approx(expected, abs=1e-12), 2.0)


def test_only_the_policy_learns():
    assert slopes(reinforce(), four())[:, 0].tolist() == pytest.approx([-a / 4 for a in GAINS], abs=1e-12)
    ratios = torch.tensor([math.log(r) for r in RATIOS], dtype=torch.float64)
    torch.testing.assert_close(slopes(kl_penalty("k2"), four())[:, 0], ratios / 4)


def test_entropy_is_a_reward():
    assert entropy_bonus().loss(four()).value.item() == pytest.approx(-0.75, abs=1e-12)
