"""Losses that look at how long the two responses are: R-DPO prices length, SamPO compares equally many steps."""

import torch
from torch import Tensor

from guerdon import reduce
from guerdon.batch import Batch, Pairs, Seed
from guerdon.objectives.pairwise import logistic, pairwise
from guerdon.objectives.scores import Score, log_ratio
from guerdon.objectives.terms import Objective
from guerdon.worlds.keyed import mix, uniform

ROW = "rollout_row"
"""The column that numbers the rows of a round (``guerdon.training.recipe.ROW``)."""


def shared_length(batch: Batch, pairs: Pairs) -> Tensor:
    """min(|y_w|, |y_l|) in live steps, int64 [P]."""
    length = reduce.lengths(batch.read("steps").mask)
    return torch.minimum(length[pairs.winner], length[pairs.loser])


def r_dpo(beta: float = 0.1, alpha: float = 0.01, smoothing: float = 0.0) -> Objective:
    """−log σ(βh + α|y_w| − α|y_l|), h the difference of summed log-ratios (Park et al. 2024, 2403.19159).

    It is DPO for the reward r(y) − α|y|: length is charged α nats a step, so that a label which length explains teaches
    nothing.
    """
    ratio = log_ratio()

    def call(batch: Batch, pairs: Pairs, sign: int) -> Tensor:
        length = reduce.lengths(batch.read("steps").mask)[pairs.rows(sign)]
        return beta * ratio(batch, pairs, sign) + alpha * length

    return pairwise(Score("priced_log_ratio", call, ratio.needs, "reward"), logistic(smoothing=smoothing), name="r_dpo")


def sampo(beta: float = 0.1, seed: Seed = Seed(0), smoothing: float = 0.0, by: str = ROW) -> Objective:  # noqa: B008
    """DPO on equally many steps of both sides: ρ is summed over T = min(|y_w|, |y_l|) steps of each, drawn without
    replacement (Lu et al. 2024, 2406.10957).

    The draw is a function of ``seed``, the row's number in the column ``by`` and the step's place among the live ones,
    so micro-batches, ranks and padding cannot change it. Give every update its own seed (``Seed.child(step)``), or
    the same steps are compared all along. Sides of equal length are compared whole, which is DPO.
    """

    def call(batch: Batch, pairs: Pairs, sign: int) -> Tensor:
        steps = batch.read("steps").take(pairs.rows(sign))
        number = torch.as_tensor(batch.read(f"columns.{by}"), device=steps.mask.device)[pairs.rows(sign)]
        chosen = first_drawn(steps.mask, shared_length(batch, pairs), number, seed)
        return beta * reduce.total(steps.logprob("policy") - steps.logprob("reference").detach(), chosen)

    needs = ("steps.logp.policy", "steps.logp.reference", f"columns.{by}")
    return pairwise(Score("sampled_log_ratio", call, needs, "reward"), logistic(smoothing=smoothing), name="sampo")


def first_drawn(mask: Tensor, count: Tensor, number: Tensor, seed: Seed) -> Tensor:
    """bool [P,T]: ``count`` [P] of each row's live steps, drawn without replacement by row ``number`` [P] and place."""
    keys = mix(torch.full_like(number, seed.integer()), number)[:, None]
    place = mask.long().cumsum(1)
    lot = torch.where(mask, uniform(keys.expand_as(place), place), torch.inf)
    rank = torch.argsort(torch.argsort(lot, dim=1, stable=True), dim=1, stable=True)
    return mask & (rank < count[:, None])
