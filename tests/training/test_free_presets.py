"""Presets of ``methods.free`` run from the table alone: every need is met, nothing is NaN, and the policy moves."""

from __future__ import annotations

import math

import pytest
import torch

from guerdon.batch import Lists, Pairs, Samples, Seed
from guerdon.lab import finite as lab
from guerdon.training import Micro, Optim, Recorded, run
from guerdon.training.methods import Preset, free
from guerdon.worlds.finite import FiniteRows, FiniteWorld, LinearPolicy
from guerdon.worlds.snapshots import Snapshots

N = 24


def source_of(preset: Preset, bed: lab.Finite) -> Recorded:
    """Pairs of responses with their gold as score, or lists of three."""
    compared = lab.compare(bed, N, Seed(0))
    prompt, response = compared.prompt.repeat(2), torch.cat([compared.winner, compared.loser])
    samples = Samples(
        FiniteRows(prompt, response),
        prompt.tolist(),
        response.tolist(),
        terminated=torch.ones(2 * N, dtype=torch.bool),
        columns={"score": bed.gold[prompt, response].tolist()},
    )
    if preset.reads == "lists":
        at = torch.arange(2 * N).view(-1, 3)
        return Recorded(samples, len(at), lists=Lists(at, bed.gold[prompt, response][at]))
    return Recorded(samples, N, Pairs(torch.arange(N), torch.arange(N, 2 * N)))


@pytest.mark.parametrize("preset", free.PRESETS, ids=lambda p: p.name)
def test_a_preset_runs_from_the_table_alone(preset: Preset) -> None:
    """Micro-batches give the same run as the whole batch."""
    ends = []
    for rows in (None, 10):
        bed = lab.finite(Seed(0), 4, 8)
        policy = LinearPolicy(bed.features, base=bed.reference)
        rules = preset.called(preset.rules, preset.settings({}), 3)
        recipe = preset.recipe(
            FiniteWorld(bed.features),
            Snapshots(policy, **rules),
            source_of(preset, bed),
            3,
            optim=Optim(lr=0.05, kind="adam", clip=None),
            micro=Micro(rows=rows),
        )
        history = run(recipe).history
        assert all(math.isfinite(m["loss"]) for m in history)
        ends.append(policy.weight.detach().clone())
    assert ends[0].abs().max() > 0
    torch.testing.assert_close(ends[0], ends[1], rtol=1e-4, atol=1e-5)
