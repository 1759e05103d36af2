"""TGDPO (card 146): token weights from a guide policy that differ by side."""

import pytest
import torch

from guerdon.batch import Batch
from guerdon.objectives import dpo, tgdpo

from .toys import one_pair, steps, toy_pair


def test_card_value():
    toy = steps([-1.0], [-2.0], reference=[[-1.5], [-1.5]], guide=[[-0.5], [-2.5]])  # g_w = +1, g_l = −1
    assert tgdpo().loss(Batch(toy, pairs=one_pair())).value.item() == pytest.approx(0.642025, abs=1e-6)


def test_without_guidance_it_is_dpo():
    toy = toy_pair()
    logp = {**toy.logp, "guide": toy.logp["policy"]}
    batch = Batch(type(toy)(toy.mask, logp), pairs=one_pair())
    assert tgdpo(alpha=0.0).loss(batch).value.item() == dpo(0.1).loss(batch).value.item()
    at_reference = Batch(type(toy)(toy.mask, {**logp, "guide": toy.logp["reference"]}), pairs=one_pair())
    assert tgdpo().loss(at_reference).value.item() == dpo(0.1).loss(at_reference).value.item()


def test_the_guide_carries_no_gradient():
    toy = steps([-1.0], [-2.0], reference=[[-1.5], [-1.5]])
    guide = torch.tensor([[-0.5], [-2.5]], requires_grad=True)
    loss = tgdpo().loss(Batch(type(toy)(toy.mask, {**toy.logp, "guide": guide}), pairs=one_pair())).value
    assert torch.autograd.grad(loss, guide, allow_unused=True) == (None,)
