"""Whatever a method of the table reads beside the policy's log-probs is data: no gradient reaches it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from guerdon.errors import GuerdonError
from guerdon.objectives import Objective
from guerdon.training import methods
from guerdon.training.numbered import number_pairs
from tests.properties.cases_direct_free import BATCH

OTHERS = {"modpo", "srpo", "tpo-tree", "spo-degree"}
"""These read roles, embeddings or heads; their own files hold them to the same."""


def objective_of(name: str) -> Objective:
    """A method's objective at its first update, with the paper's hyperparameters."""
    preset = methods.find(name)
    made = preset.called(preset.objective, preset.settings({}))
    return made if isinstance(made, Objective) else made(0)


@pytest.mark.parametrize("name", methods.names())
def test_only_the_policy_learns(name: str) -> None:
    steps = BATCH.read("steps")
    known = {**steps.logp, **dict.fromkeys(("round", "previous", "sampler"), steps.logp["old"])}
    logp = {k: x.detach().clone().requires_grad_() for k, x in known.items()}
    columns = {**BATCH.columns, "win_rate": [0.3] * len(BATCH), "z": [0.1] * len(BATCH)}
    rows = {**BATCH.rows, "reference": torch.tensor([4, 7])}
    batch = number_pairs(replace(BATCH, steps=replace(steps, logp=logp), columns=columns, rows=rows))
    try:
        loss = objective_of(name).loss(batch).value
    except GuerdonError:
        assert name in OTHERS
        return
    found = torch.autograd.grad(loss, list(logp.values()), allow_unused=True)
    for key, slope in zip(logp, found, strict=True):
        assert (slope is not None and bool(slope.any())) == (key == "policy"), key
