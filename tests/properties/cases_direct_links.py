"""Cases of the other links, the losses of both sides, and those that need the whole batch."""

from __future__ import annotations

import torch
from torch import Tensor

from guerdon import objectives
from guerdon.checks import Limit
from guerdon.training.numbered import number_pairs
from tests.properties.cases_objectives import BATCH, LOGS, PAIRED, built, contrasted, loss_of

NUMBERED = number_pairs(BATCH)
# exp(−z) leaves float32 beyond 88 by design.
NEAR = dict.fromkeys(LOGS, (-40.0, 0.0))


def rising(z: Tensor) -> Tensor:
    return torch.nn.functional.softplus(-z)


def steeper(z: Tensor) -> Tensor:
    return torch.nn.functional.softplus(-2.0 * z)


def apart(w: Tensor, l: Tensor) -> Tensor:
    return torch.sigmoid(l) - 0.5 * torch.sigmoid(w)


CASES = [
    built(
        contrasted(objectives.of_difference),
        {"link": rising},
        {"link": steeper},
        function=objectives.of_difference,
        moves=PAIRED,
        limits=(
            Limit({"link": rising}, loss_of(objectives.pairwise(objectives.log_ratio(), objectives.logistic())), "BT"),
        ),
    ),
    built(
        contrasted(objectives.of_sides),
        {"loss": apart},
        {"loss": torch.mul},
        function=objectives.of_sides,
        moves=PAIRED,
    ),
    built(objectives.hinge_dpo, effects={"beta": 0.7, "margin": 3.0}, moves=PAIRED),
    built(objectives.squared_hinge_dpo, effects={"beta": 0.7}, moves=PAIRED),
    built(objectives.exp_dpo, effects={"beta": 0.7}, moves=PAIRED, domain=NEAR),
    built(objectives.discopop, effects={"beta": 0.7, "tau": 0.5}, moves=PAIRED),
    built(
        objectives.robust_dpo,
        effects={"beta": 0.7, "flip": 0.3},
        moves=PAIRED,
        limits=(Limit({"flip": 0.0}, loss_of(objectives.dpo()), "dpo"),),
    ),
    built(objectives.exo, effects={"beta": 0.7, "epsilon": 0.2}, moves=PAIRED),
    built(objectives.slic, effects={"margin": 3.0, "weight": 0.1}),
    built(objectives.nca, effects={"beta": 0.7}, moves=PAIRED),
    built(objectives.apo_zero, effects={"beta": 0.7}, moves=PAIRED),
    built(objectives.apo_down, effects={"beta": 0.7}, moves=PAIRED),
    built(
        objectives.dpop,
        effects={"beta": 0.7, "weight": 1.0},
        moves=PAIRED,
        limits=(Limit({"weight": 0.0}, loss_of(objectives.dpo(0.3)), "dpo"),),
    ),
    built(objectives.cal_dpo, effects={"beta": 0.7}, moves=PAIRED),
    built(objectives.bco, effects={"beta": 0.7}, moves=PAIRED),
    built(objectives.bco_pair, effects={"beta": 0.7}, moves=PAIRED),
    built(objectives.aot, effects={"beta": 0.7, "smoothing": 0.2}, batch=NUMBERED, moves=PAIRED),
]
