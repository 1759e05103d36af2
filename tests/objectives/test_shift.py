"""Hand values and identities of DPO-Shift and Flex-DPO (cards 98, 168), and the preset's schedule."""

import math

import pytest
import torch

from guerdon.objectives import Objective, dpo, dpo_shift, flex_dpo, sft
from guerdon.training.methods import find
from tests.objectives.test_losses import T1, pair, value


def gradient(objective: Objective) -> list[float]:
    made = pair(*T1)
    assert made.steps is not None
    (found,) = torch.autograd.grad(objective.loss(made).value, made.steps.logp["policy"])
    return found[:, 0].tolist()


def test_dpo_shift_by_hand():
    assert value(dpo_shift(0.1, 0.5), pair(*T1)) == pytest.approx(0.656350, abs=1e-6)
    assert value(dpo_shift(0.1, 1.0), pair(*T1)) == pytest.approx(0.644397, abs=1e-6)
    one_sided = math.log1p(math.exp(-0.05))
    assert value(dpo_shift(0.1, 0.0), pair(*T1)) == pytest.approx(one_sided, abs=1e-6)
    assert gradient(dpo_shift(0.1, 0.0))[1] == 0.0
    assert gradient(dpo_shift(0.1, 1.0)) == pytest.approx(gradient(dpo(0.1)), abs=1e-8)


def test_flex_dpo_by_hand():
    assert value(flex_dpo(0.1, 0.05), pair(*T1)) == pytest.approx(0.656350, abs=1e-6)
    assert value(flex_dpo(0.1, 0.1), pair(*T1)) == pytest.approx(0.644397, abs=1e-6)
    assert gradient(flex_dpo(0.1, 0.05)) == pytest.approx(gradient(dpo_shift(0.1, 0.5)), abs=1e-9)


def test_the_rejected_side_is_pushed_less_by_the_factor():
    up, down = gradient(dpo_shift(0.1, 0.3))
    assert down == pytest.approx(-0.3 * up, abs=1e-8)


def test_the_reference_is_multiplied_too():
    """A constant of the prompt cancels in DPO; with f < 1 the share 1 − f of it stays."""
    moved = pair([-1.0, -2.0], [-4.5, -4.5])
    assert value(dpo_shift(0.1, 0.5), moved) == pytest.approx(math.log1p(math.exp(-(0.1 * 3.5 - 0.05 * 2.5))), abs=1e-6)
    start = pair([-1.0, -2.0], [-1.0, -2.0])
    assert value(dpo_shift(0.1, 0.5), start) == pytest.approx(math.log(2), abs=1e-6)  # at ρ = 0 alone


def test_without_the_rejected_side_it_descends_like_sft():
    """Flex-DPO with β⁻ → 0 pushes along the gradient of SFT on the chosen response."""
    ours, theirs = gradient(flex_dpo(0.1, 0.0)), gradient(sft("winner"))
    assert ours[1] == theirs[1] == 0.0 and ours[0] < 0 and theirs[0] < 0


def test_the_linear_schedule_ends_where_it_should():
    preset = find("dpo-shift-linear")
    settings = preset.settings({"beta": 0.1, "first": 0.75, "last": 1.0})
    at = preset.called(preset.objective, settings, 100)
    for step, f in ((0, 0.75), (50, 0.875), (100, 1.0), (150, 1.0)):
        assert value(at(step), pair(*T1)) == pytest.approx(value(dpo_shift(0.1, f), pair(*T1)), abs=1e-7)
    falling = preset.called(preset.objective, preset.settings({"beta": 0.1, "first": 1.0, "last": 0.85}), 10)
    assert value(falling(10), pair(*T1)) == pytest.approx(value(dpo_shift(0.1, 0.85), pair(*T1)), abs=1e-7)


def test_the_defaults():
    assert value(flex_dpo(), pair(*T1)) == value(flex_dpo(0.1, 0.08, 0.0), pair(*T1))
    assert value(dpo_shift(), pair(*T1)) == value(dpo_shift(0.01, 0.95, 0.0), pair(*T1))
    assert flex_dpo().terms[0].name == dpo_shift().terms[0].name == "dpo"


def test_smoothing_mixes_in_the_flipped_label():
    z = 0.1 * 0.5 + 0.05 * 0.5
    smooth = 0.8 * math.log1p(math.exp(-z)) + 0.2 * math.log1p(math.exp(z))
    assert value(flex_dpo(0.1, 0.05, 0.2), pair(*T1)) == pytest.approx(smooth, abs=1e-6)
    assert value(dpo_shift(0.1, 0.5, 0.2), pair(*T1)) == pytest.approx(smooth, abs=1e-6)
