"""Cases of guerdon.objectives."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from guerdon import objectives
from guerdon.batch import Batch, Lists, Pairs, Steps
from guerdon.checks import Case, Degree, Limit, Move, Ratio
from guerdon.checks.objective import objective_case
from guerdon.objectives import Objective
from tests.properties.examples import MASK, ROWS, STEPS, real, unit


def example(old_apart: float = 0.8) -> Batch:
    """Ten rows, one without steps, five pairs, everything an objective may read; finite under the mask too."""

    def logp(seed: int) -> Tensor:
        return -unit(ROWS, STEPS, seed=seed)

    policy = logp(1)
    names = {
        "policy": policy,
        "reference": logp(2),
        "old": policy + old_apart * real(ROWS, STEPS, seed=3),
        "guide": logp(4),
    }
    stats = {
        "entropy": unit(ROWS, STEPS, seed=5),
        "collision": -unit(ROWS, STEPS, seed=18),
        "kl:reference": unit(ROWS, STEPS, seed=6),
        "value:total": real(ROWS, STEPS, seed=7),
        "value:other": real(ROWS, STEPS, seed=17),
        "old_value:total": real(ROWS, STEPS, seed=8),
    }
    pairs = Pairs(
        torch.arange(0, ROWS, 2), torch.arange(1, ROWS, 2), unit(ROWS // 2, seed=9), unit(ROWS // 2, seed=10), unit(5)
    )
    return Batch(
        Steps(MASK, names, stats),
        pairs=pairs,
        rows={
            "chosen": pairs.winner[:3],
            "desirable": torch.tensor([0, 3, 7]),
            "undesirable": torch.tensor([2, 9]),
            "mismatched": torch.tensor([1, 5, 6, 8]),
        },
        advantages={"total": real(ROWS, STEPS, seed=11), "other": real(ROWS, STEPS, seed=14)},
        returns={"total": real(ROWS, STEPS, seed=12), "other": real(ROWS, STEPS, seed=15)},
        heads={"reward": real(ROWS, seed=13), "other": real(ROWS, seed=16)},
        columns={"score": real(ROWS, seed=19), "win_rate": unit(ROWS, seed=20)},
        lists=Lists(torch.tensor([[0, 1, 2, 3], [4, 5, -1, -1], [9, 8, 6, 7]]), real(3, 4, seed=21), unit(3, seed=22)),
    )


BATCH = example()
LOGS = ("steps.logp.policy", "steps.logp.reference")


def built(
    build: Callable[..., Objective],
    options: Mapping[str, Any] | None = None,
    effects: Mapping[str, Any] | None = None,
    name: str | None = None,
    function: Callable[..., Any] | None = None,
    batch: Batch = BATCH,
    **roles: Any,
) -> Case:
    """A function that makes objectives, on a batch: its arguments are the options of the case."""
    options, effects = options or {}, effects or {}
    others = [build(**{**options, k: v}) for k, v in effects.items()]
    also = tuple(dict.fromkeys(path for o in others for path in o.needs))
    case = objective_case(build(**options), batch, also=also, **roles)
    function = function or build

    def call(**given: Any) -> Any:
        chosen = {k: given.pop(k) for k in list(given) if k not in case.inputs}
        return objective_case(build(**{**options, **chosen}), batch, also=also).call(**given)

    title = name or f"objectives.{getattr(function, '__name__', 'objective')}"
    # An option may read what the plain objective does not, so gradient is looked for in all of them.
    return replace(case, name=title, call=call, effects=effects, function=function)


def loss_of(objective: Objective, *also: str, batch: Batch = BATCH) -> Callable[..., Tensor]:
    """Another objective on the same inputs."""
    return objective_case(objective, batch, also=also).call


def scored(score: Callable[..., objectives.Score]) -> Callable[..., Objective]:
    """A score inside the plain logistic loss."""

    def build(**options: Any) -> Objective:
        return objectives.pairwise(score(**options), objectives.logistic())

    return build


def contrasted(contrast: Callable[..., Any]) -> Callable[..., Objective]:
    """A contrast on log-ratios."""

    def build(**options: Any) -> Objective:
        return objectives.pairwise(objectives.log_ratio(), contrast(**options))

    return build


def reduced(reduction: Callable[..., objectives.Reduction]) -> Callable[..., Objective]:
    """REINFORCE under a reduction."""

    def build(**options: Any) -> Objective:
        return objectives.reinforce(reduction=reduction(**options))

    return build


def token_weights(batch: Batch, sign: int) -> Tensor:
    return batch.read("steps").logp["guide"].exp()


REDUCTIONS = {"reduction": objectives.sequence_mean()}
IN_LOGP = (Degree(("steps.logp.policy",), 1.0),)
PAIRED = (Move(LOGS, 0.0),)

PAIRWISE = [
    built(
        objectives.dpo,
        effects={"beta": 0.7, "smoothing": 0.2},
        moves=PAIRED,
        limits=(
            Limit(
                {"smoothing": 0.0},
                loss_of(objectives.pairwise(objectives.scaled(0.1, objectives.log_ratio()), objectives.logistic())),
                "pairwise(scaled log-ratio)",
            ),
        ),
    ),
    built(objectives.ipo_sum, effects={"tau": 0.3}, moves=PAIRED),
    built(objectives.ipo_mean, effects={"tau": 0.3}, moves=PAIRED),
    built(objectives.simpo, effects={"beta": 0.7, "gamma": 0.0, "smoothing": 0.2}),
    built(
        objectives.bradley_terry_loss,
        effects={"smoothing": 0.2, "name": "other"},
        moves=(Move(("heads.reward",), 0.0),),
    ),
    built(
        objectives.pairwise,
        {"score": objectives.log_ratio(), "contrast": objectives.logistic()},
        moves=PAIRED,
        effects={
            "score": objectives.mean_log_ratio(),
            "contrast": objectives.hinge(),
            "side": lambda z, sign: 2.0 * z,
            "weight": lambda batch, pairs: 1.0 + torch.arange(len(pairs)),
        },
    ),
    built(
        contrasted(objectives.logistic),
        effects={"margin": 0.5, "smoothing": 0.2},
        function=objectives.logistic,
        moves=PAIRED,
    ),
    built(contrasted(objectives.hinge), effects={"margin": 3.0}, function=objectives.hinge, moves=PAIRED),
    built(contrasted(objectives.squared), {"target": 0.5}, {"target": 2.0}, function=objectives.squared, moves=PAIRED),
    built(
        scored(objectives.log_ratio), effects={"to": "old", "of": "guide"}, function=objectives.log_ratio, moves=PAIRED
    ),
    built(
        scored(objectives.mean_log_ratio),
        effects={"to": "old", "of": "guide"},
        function=objectives.mean_log_ratio,
        moves=PAIRED,
    ),
    built(scored(objectives.mean_logprob), effects={"of": "guide"}, function=objectives.mean_logprob),
    built(
        scored(objectives.weighted_log_ratio),
        {"weights": token_weights, "needs": ("steps.logp.guide",)},
        {"weights": lambda batch, sign: float(sign) * batch.steps.logp["guide"], "to": "old", "of": "old"},
        function=objectives.weighted_log_ratio,
    ),
    built(
        scored(objectives.head),
        effects={"name": "other"},
        function=objectives.head,
        moves=(Move(("heads.reward",), 0.0),),
    ),
    built(
        scored(objectives.scaled),
        {"factor": 0.5, "score": objectives.log_ratio()},
        {"factor": 2.0, "score": objectives.mean_log_ratio()},
        function=objectives.scaled,
        moves=PAIRED,
    ),
]

FIRST = Ratio("steps.logp.policy", "steps.logp.old", loss_of(objectives.reinforce(), "steps.logp.old"))
# For negative advantages the plain surrogate is unbounded by design, and exp(log-ratio) leaves float32 beyond 88.
APART = {"steps.logp.policy": (-40.0, 0.0), "steps.logp.old": (-40.0, 0.0)}

POLICY = [
    built(
        objectives.reinforce,
        effects={"advantage": "other", **REDUCTIONS},
        degrees=(Degree(("advantages.total",), 1.0),),
    ),
    built(
        objectives.clipped,
        effects={
            "low": 0.05,
            "high": 0.5,
            "dual": 1.01,
            "level": "sequence",
            "old": "reference",
            "advantage": "other",
            **REDUCTIONS,
        },
        domain=APART,
        ratio=FIRST,
        degrees=(Degree(("advantages.total",), 1.0),),
        moves=(Move(("steps.logp.policy", "steps.logp.old"), 0.0),),
    ),
    built(
        lambda: objectives.clipped(dual=3.0),
        name="objectives.clipped[dual]",
        function=objectives.clipped,
        ratio=FIRST,
        degrees=(Degree(("advantages.total",), 1.0),),
        moves=(Move(("steps.logp.policy", "steps.logp.old"), 0.0),),
    ),
    built(
        lambda: objectives.clipped(level="sequence", reduction=objectives.sequence_sum()),
        name="objectives.clipped[sequence]",
        degrees=(Degree(("advantages.total",), 1.0),),
        function=objectives.clipped,
        domain=APART,
        moves=(Move(("steps.logp.policy", "steps.logp.old"), 0.0),),
    ),
    built(
        objectives.kl_penalty,
        effects={"estimator": "k2", "to": "old", "gradient": "k2", **REDUCTIONS},
        domain={"steps.logp.policy": (-40.0, 0.0), "steps.logp.reference": (-40.0, 0.0)},
        differentiable=("steps.logp.policy",),
        moves=PAIRED,
    ),
    built(objectives.entropy_bonus, effects=REDUCTIONS, degrees=(Degree(("steps.stats.entropy",), 1.0),)),
    built(
        objectives.value_loss,
        effects={"clip": 0.05, "channel": "other", **REDUCTIONS},
        differentiable=("steps.stats.value:total",),
        degrees=(Degree(("steps.stats.value:total", "returns.total"), 2.0),),
        moves=(Move(("steps.stats.value:total", "returns.total", "steps.stats.old_value:total"), 0.0),),
    ),
    built(
        objectives.expectation,
        effects={"sign": 1.0, "rows": "chosen", "per": "average", "of": "guide"},
        limits=(Limit({"sign": -1.0, "per": "token"}, loss_of(objectives.sft(), "steps.logp.guide"), "sft"),),
        degrees=(Degree(("steps.logp.policy",), 1.0),),
    ),
    built(objectives.sft, effects={"rows": "winner"}, degrees=IN_LOGP),
    built(reduced(objectives.token_mean), function=objectives.token_mean, degrees=IN_LOGP),
    built(reduced(objectives.sequence_mean), function=objectives.sequence_mean, degrees=IN_LOGP),
    built(reduced(objectives.sequence_sum), effects={"scale": 3.0}, function=objectives.sequence_sum, degrees=IN_LOGP),
]

UNPAIRED = [
    built(
        objectives.kto,
        effects={"beta": 0.7, "desirable": 2.0, "undesirable": 0.5, "of": "guide", "to": "old"},
        moves=PAIRED,
    ),
]

CASES = [*PAIRWISE, *POLICY, *UNPAIRED]
