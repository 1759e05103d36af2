"""BCO: a binary classifier of desirable and undesirable responses, shifted by what the whole batch is worth."""

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from guerdon import reduce
from guerdon.batch import Batch
from guerdon.objectives.anchored import of_sides
from guerdon.objectives.pairwise import logistic, pairwise
from guerdon.objectives.scores import log_ratio, scaled
from guerdon.objectives.terms import Metrics, Objective, Stats, Term


def bco(beta: float = 0.1) -> Objective:
    """−log σ(βρ − δ) on desirable rows, −log σ(δ − βρ) on undesirable ones, δ = ½(mean of βρ over the desirable + mean
    over the undesirable) (Jung et al. 2024, 2404.04656).

    rows.desirable, rows.undesirable: the labelled rows; their number in the whole batch is the denominator. δ carries
    no gradient; its sums and counts are added over micro-batches and ranks before they are divided. It is the whole
    batch's, where the authors keep a moving average over batches; a side without rows leaves it to the other. Their
    density-ratio weights (UDM) are not here. Metrics: βρ of either side, δ ('shift'), and how often βρ lies on the
    label's side of δ (a tie counts ½).
    """

    def rewards(batch: Batch, rows: str) -> Tensor:
        steps = batch.read("steps").take(batch.read(f"rows.{rows}"))
        return beta * reduce.total(steps.logprob("policy") - steps.logprob("reference").detach(), steps.mask)

    def couple(batch: Batch) -> Stats:
        good, bad = rewards(batch, "desirable").detach(), rewards(batch, "undesirable").detach()
        return {
            "good": good.sum(),
            "good_rows": torch.ones_like(good).sum(),
            "bad": bad.sum(),
            "bad_rows": torch.ones_like(bad).sum(),
        }

    def shift(stats: Stats) -> Tensor:
        sides = (stats["good_rows"] > 0).to(stats["good"]) + (stats["bad_rows"] > 0).to(stats["good"])
        means = stats["good"] / stats["good_rows"].clamp(min=1) + stats["bad"] / stats["bad_rows"].clamp(min=1)
        return means / sides.clamp(min=1)

    def unit(batch: Batch, stats: Stats) -> Tensor:
        delta = shift(stats)
        good, bad = rewards(batch, "desirable"), rewards(batch, "undesirable")
        return torch.cat([-logsigmoid(good - delta), -logsigmoid(delta - bad)])

    def weight(batch: Batch) -> Tensor:
        return torch.ones(len(batch.read("rows.desirable")) + len(batch.read("rows.undesirable")), device=batch.device)

    def metrics(batch: Batch, stats: Stats) -> Metrics:
        good, bad, delta = rewards(batch, "desirable"), rewards(batch, "undesirable"), shift(stats)
        ahead = torch.cat([good - delta, delta - bad])
        correct = (ahead > 0).to(ahead) + 0.5 * (ahead == 0).to(ahead)
        of = {"desirable": good, "undesirable": bad, "accuracy": correct}
        means = {name: (x.sum(), torch.ones_like(x).sum()) for name, x in of.items()}
        return {**means, "shift": (delta, torch.ones_like(delta))}

    needs = ("steps.logp.policy", "steps.logp.reference", "rows.desirable", "rows.undesirable")
    return Objective((Term("bco", needs, unit, weight, couple, metrics),))


def bco_pair(beta: float = 0.1) -> Objective:
    """−log σ(βρ_w − δ) − log σ(δ − βρ_l), δ the mean of βρ over both sides of all pairs of the batch, without gradient
    (Jung et al. 2024, 2404.04656).

    ``bco`` of both sides, one unit a pair: δ's sums are weighted as the pairs are. TRL 1.16 leaves δ out ('bco_pair').
    """
    score = scaled(beta, log_ratio())

    def couple(batch: Batch) -> Stats:
        pairs = batch.read("pairs")
        weight = pairs.weights()
        middle = 0.5 * (score(batch, pairs, 1) + score(batch, pairs, -1)).detach()
        live = torch.where(weight > 0, middle, torch.zeros_like(middle))
        return {"reward": (weight.to(live) * live).sum(), "weight": weight.to(live).sum()}

    def unit(batch: Batch, stats: Stats) -> Tensor:
        pairs = batch.read("pairs")
        delta = stats["reward"] / torch.where(stats["weight"] > 0, stats["weight"], 1.0)
        contrast = of_sides(lambda w, l: -logsigmoid(w - delta) - logsigmoid(delta - l))
        return contrast(score(batch, pairs, 1), score(batch, pairs, -1), pairs)

    (plain,) = pairwise(score, logistic(), name="bco_pair").terms
    return Objective((replace(plain, unit=unit, couple=couple),))
