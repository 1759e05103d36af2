"""DPO + SFT (card 169): two terms concatenate, each with its own denominator."""

import math

import pytest
import torch

from guerdon.batch import Batch
from guerdon.objectives import Objective, dpo, sft

from .toys import one_pair, toy_pair


def dpo_with_sft(beta: float = 0.1, weight: float = 0.005) -> Objective:
    return dpo(beta) + weight * sft("winner")


def test_card_values():
    steps = toy_pair()
    loss = dpo(0.1).loss(Batch(steps, pairs=one_pair()))
    assert loss.value.item() == pytest.approx(0.644397, abs=1e-6)
    (gradient,) = torch.autograd.grad(loss.value, steps.logp["policy"])
    assert gradient[0].tolist() == pytest.approx([-0.047502, -0.047502], abs=1e-6)
    assert gradient[1].tolist() == pytest.approx([0.047502, 0.0], abs=1e-6)


def test_the_sum_keeps_both_denominators():
    batch = Batch(toy_pair(), pairs=one_pair())
    loss = dpo_with_sft().loss(batch)
    nll = 0.5  # two tokens of the winner, log-probs −0.6 and −0.4
    assert loss.value.item() == pytest.approx(0.644397 + 0.005 * nll, abs=1e-6)
    assert loss.parts["sft"].item() == pytest.approx(0.005 * nll, abs=1e-8)


def test_log_2_at_the_reference():
    steps = toy_pair()
    same = {"policy": steps.logp["reference"], "reference": steps.logp["reference"]}
    batch = Batch(type(steps)(steps.mask, same), pairs=one_pair())
    assert dpo(0.3).loss(batch).value.item() == pytest.approx(math.log(2), abs=1e-7)
