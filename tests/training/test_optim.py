"""Optimiser settings: fused kernels take the same steps, and a run with them resumes exactly."""

from pathlib import Path

import pytest
import torch
from torch import nn

from guerdon.training import Optim, run
from guerdon.training.optim import KINDS, load_moments, moments, take_step
from tests.training.test_run import online, weights

STEPS = 20


def moved(optim: Optim) -> torch.Tensor:
    """A parameter after ``STEPS`` updates by fixed gradients."""
    draw = torch.Generator().manual_seed(0)
    p = nn.Parameter(torch.randn(64, generator=draw))
    optimiser = optim.make([p])
    for step in range(STEPS):
        p.grad = torch.randn(64, generator=draw)
        take_step(optimiser, [p], optim.rate(step, STEPS), optim.clip)
    return p.detach()


@pytest.mark.parametrize("kind", KINDS)
def test_fused_kernels_take_the_same_steps(kind: str) -> None:
    plain, fused = (
        moved(Optim(lr=0.1, kind=kind, weight_decay=0.1, momentum=0.5, clip=1.0, fused=f)) for f in (False, True)
    )
    # Weights of at most 4, each step rounded otherwise by some units in the last place of what is added.
    torch.testing.assert_close(fused, plain, rtol=0, atol=STEPS * 4 * torch.finfo(torch.float32).eps)


@pytest.mark.parametrize("kind", KINDS)
def test_fused_is_what_torch_is_told(kind: str) -> None:
    p = nn.Parameter(torch.zeros(1))
    assert Optim(kind=kind, fused=True).make([p]).defaults["fused"] is True
    assert Optim(kind=kind).make([p]).defaults["fused"] is None


def test_a_fused_run_resumes_to_the_same_weights(tmp_path: Path) -> None:
    optim = Optim(lr=0.1, kind="adam", fused=True)
    whole, half, rest = (online(rounds=n, optim=optim) for n in (8, 4, 8))
    run(whole)
    run(half, tmp_path)
    run(rest, tmp_path)
    assert torch.equal(weights(whole), weights(rest))


@pytest.mark.parametrize("fused", [False, True])
def test_the_counter_lies_where_torch_keeps_it(fused: bool) -> None:
    p = nn.Parameter(torch.ones(3))
    optimiser = Optim(fused=fused).make([p])
    p.grad = torch.ones(3)
    optimiser.step()
    saved = {k: v.clone() for k, v in moments(optimiser, {"p": p})["p"].items()}
    again = Optim(fused=fused).make([p])
    load_moments(again, {"p": p}, {"p": saved})
    assert again.state[p].keys() == optimiser.state[p].keys()
    assert all(torch.equal(again.state[p][k], saved[k]) for k in saved)
    assert again.state[p]["step"].device == optimiser.state[p]["step"].device
