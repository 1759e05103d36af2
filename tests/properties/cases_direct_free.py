"""Cases of the objectives without a reference, under other divergences, with weights, margins and lengths."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import torch

from guerdon import objectives
from guerdon.batch import Batch, Lists, Pairs, Seed
from guerdon.checks import Limit, Move
from guerdon.checks.objective import objective_case
from guerdon.objectives import Objective
from guerdon.training.recipe import ROW
from tests.properties import cases_objectives
from tests.properties.examples import ROWS, STEPS, real, unit

PLAIN = cases_objectives.example()
assert PLAIN.steps is not None
STATS = {
    **PLAIN.steps.stats,
    "collision": -unit(ROWS, STEPS, seed=21),
    "kl:other": unit(ROWS, STEPS, seed=22),
    "running:gap": torch.full((ROWS, STEPS), 0.3),
    "running:other": torch.full((ROWS, STEPS), -0.4),
}
BATCH = replace(
    PLAIN,
    steps=replace(PLAIN.steps, stats=STATS),
    columns={
        ROW: torch.arange(ROWS),
        "other": torch.arange(50, 50 + ROWS),
        "score": real(ROWS, seed=23).tolist(),
        "strength": real(ROWS, seed=24).tolist(),
    },
    lists=Lists(
        torch.tensor([[0, 1, 2, 3], [5, 6, 7, -1], [8, 9, -1, -1]]),
        torch.tensor([[0.3, 1.0, 0.7, 0.1], [0.2, 0.9, 0.5, 0.0], [0.4, 0.1, 0.0, 0.0]]),
        torch.tensor([0.8, 0.5, 0.3]),
    ),
)
LOGS = ("steps.logp.policy", "steps.logp.reference")
POLICY = ("steps.logp.policy",)
PAIRED = (Move(LOGS, 0.0),)

built = partial(cases_objectives.built, batch=BATCH)
loss_of = partial(cases_objectives.loss_of, batch=BATCH)


def fixed_weights(batch: Batch, pairs: Pairs) -> torch.Tensor:
    """WPO's weights of the unmoved batch, for finite differences: they are constants of the loss."""
    steps = BATCH.read("steps")
    mean = torch.where(steps.mask, steps.logp["policy"] - steps.stats["collision"], 0.0).sum(-1)
    mean = mean / steps.mask.sum(-1).clamp(min=1)
    return (mean[BATCH.read("pairs").winner] + mean[BATCH.read("pairs").loser]).clamp(max=0.0).exp()


def without_feedback() -> Callable[..., Any]:
    score = objectives.scaled(0.1, objectives.log_ratio())
    fixed = objectives.pairwise(score, objectives.logistic(), weight=fixed_weights)
    return objective_case(fixed, BATCH, also=("steps.stats.collision",)).call


def totals(of: str = "policy") -> Objective:
    return objectives.pairwise(objectives.total_logprob(of), objectives.logistic())


def triples(margin: float = 0.0, smoothing: float = 0.0) -> Objective:
    return objectives.listwise(objectives.mean_logprob(), objectives.second_against_worst(margin, smoothing))


REFERENCE = "steps.logp.reference"

CASES = [
    built(totals, effects={"of": "guide"}, function=objectives.total_logprob),
    built(
        objectives.cpo,
        effects={"beta": 0.7, "weight": 0.3, "smoothing": 0.2},
        limits=(
            Limit(
                {"weight": 0.0},
                loss_of(objectives.pairwise(objectives.scaled(0.1, objectives.total_logprob()), objectives.logistic())),
                "DPO with a uniform reference",
            ),
        ),
    ),
    built(
        objectives.alphapo,
        effects={"beta": 0.7, "alpha": -0.5, "gamma": 1.0, "smoothing": 0.2},
        limits=(Limit({"alpha": 0.0}, loss_of(objectives.simpo(2.5, 0.25)), "simpo"),),
    ),
    built(
        objectives.orpo,
        effects={"beta": 0.7},
        limits=(Limit({"beta": 0.0}, loss_of(objectives.sft("winner")), "sft"),),
    ),
    built(
        objectives.asft,
        effects={"weight": 0.3, "beta": 2.0},
        limits=(Limit({"weight": 0.0}, loss_of(objectives.expectation(-1.0, "winner", "average")), "mean likelihood"),),
    ),
    built(
        triples,
        effects={"margin": 0.5, "smoothing": 0.2},
        function=objectives.second_against_worst,
        moves=(Move(POLICY, 0.0),),
    ),
    built(objectives.triple_po, effects={"beta": 0.7, "weight": 0.3, "smoothing": 0.2}),
    built(objectives.triple_po_l, effects={"beta": 0.7, "gamma": 0.1, "weight": 0.3, "smoothing": 0.2}),
    built(
        objectives.f_dpo,
        effects={"beta": 0.7, "divergence": "forward_kl", "smoothing": 0.2},
        limits=(Limit({"divergence": "reverse_kl"}, loss_of(objectives.dpo()), "dpo"),),
        moves=PAIRED,
    ),
    built(
        objectives.f_dpo,
        {"divergence": "alpha"},
        {"alpha": 0.9},
        name="objectives.f_dpo[alpha]",
        limits=(Limit({"alpha": 0.0}, loss_of(objectives.dpo()), "dpo"),),
        moves=PAIRED,
    ),
    built(
        objectives.chi_po,
        effects={"beta": 0.7, "reward_range": 0.01, "highest": -1.0, "smoothing": 0.2},
        moves=PAIRED,
    ),
    built(
        objectives.beta_dpo,
        effects={
            "beta": 0.7,
            "alpha": 2.0,
            "momentum": 0.1,
            "least": 0.5,
            "smoothing": 0.2,
            "running": "running:other",
        },
        differentiable=POLICY,
        limits=(Limit({"alpha": 0.0}, loss_of(objectives.dpo()), "dpo"),),
        moves=PAIRED,
    ),
    built(
        objectives.wpo,
        effects={"beta": 0.7, "most": 0.1, "smoothing": 0.2},
        differentiable=POLICY,
        frozen=without_feedback(),
        # Weights are e to the mean of log π − log Σπ², which no law leaves below 0 by more than the data do.
        domain={"steps.logp.policy": (-1e4, 0.0), REFERENCE: (-1e4, 0.0), "steps.stats.collision": (-1e2, 0.0)},
        moves=(Move((*LOGS, "steps.stats.collision"), 0.0),),
    ),
    built(
        objectives.odpo,
        effects={"beta": 0.7, "alpha": 0.3, "least": 0.5, "smoothing": 0.2, "column": "strength"},
        moves=PAIRED,
    ),
    built(
        objectives.r_dpo,
        effects={"beta": 0.7, "alpha": 0.3, "smoothing": 0.2},
        limits=(Limit({"alpha": 0.0}, loss_of(objectives.dpo()), "dpo"),),
        moves=PAIRED,
    ),
    built(
        objectives.sampo,
        effects={"beta": 0.7, "seed": Seed(1), "smoothing": 0.2, "by": "other"},
        moves=PAIRED,
    ),
    built(
        objectives.tdpo,
        effects={"beta": 0.7, "alpha": 2.0, "smoothing": 0.2, "drift": "kl:other"},
        differentiable=POLICY,
        limits=(Limit({"alpha": 0.0}, loss_of(objectives.dpo()), "dpo"),),
        moves=PAIRED,
    ),
    built(objectives.tdpo, {"detach": False}, {"detach": True}, name="objectives.tdpo[trained]", moves=PAIRED),
    built(
        objectives.tdpo1,
        effects={"beta": 0.7, "smoothing": 0.2, "drift": "kl:other"},
        moves=PAIRED,
    ),
]
