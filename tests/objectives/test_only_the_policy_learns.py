"""Whatever a method of the table reads beside the policy's log-probs is data: no gradient reaches it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from guerdon.batch import Batch
from guerdon.objectives import Objective
from guerdon.training import methods
from guerdon.training.numbered import number_pairs
from tests.properties.cases_direct_data import BATCH as STEPPED
from tests.properties.cases_direct_free import BATCH
from tests.properties.cases_direct_general import ROLES


def objective_of(name: str) -> Objective:
    """A method's objective at its first update, with the paper's hyperparameters."""
    preset = methods.find(name)
    made = preset.called(preset.objective, preset.settings({}))
    return made if isinstance(made, Objective) else made(0)


def everything(name: str) -> Batch:
    """A batch with all that any method reads; every log-prob would take a gradient."""
    free, stepped = BATCH.read("steps"), STEPPED.read("steps")
    known = {**free.logp, **dict.fromkeys(("round", "previous", "sampler"), free.logp["old"])}
    logp = {k: x.detach().clone().requires_grad_() for k, x in known.items()}
    steps = replace(free, logp=logp, stats={**stepped.stats, **free.stats}, spans=stepped.spans)
    columns = {**STEPPED.columns, **BATCH.columns, "win_rate": [0.3] * len(BATCH)}
    rows = {**BATCH.rows, "reference": torch.tensor([4, 7])}
    lists = ROLES.lists if name == "srpo" else BATCH.lists
    return number_pairs(replace(BATCH, steps=steps, columns=columns, rows=rows, lists=lists))


@pytest.mark.parametrize("name", methods.names())
def test_only_the_policy_learns(name: str) -> None:
    batch = everything(name)
    logp = batch.read("steps").logp
    found = torch.autograd.grad(objective_of(name).loss(batch).value, list(logp.values()), allow_unused=True)
    for key, slope in zip(logp, found, strict=True):
        assert (slope is not None and bool(slope.any())) == (key == "policy"), key
