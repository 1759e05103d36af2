"""Losses of whole lists of rows: a score for each row, and one loss a list."""

from collections.abc import Callable

import torch
from torch import Tensor

from guerdon.batch import Batch, Lists, Pairs
from guerdon.objectives.scores import Score
from guerdon.objectives.terms import Metrics, Objective, Stats, Term
from guerdon.preferences import plackett_luce as ranking_likelihood

ListLoss = Callable[[Tensor, Lists], Tensor]
"""(z [G,K], lists) -> loss [G]; z is 0 where a list has no row."""


def listwise(
    score: Score, loss: ListLoss, name: str = "listwise", needs: tuple[str, ...] = (), least: int = 2
) -> Objective:
    """One loss per list of the batch's ``lists``, over the scores of its rows; the denominator is Σ lists.weight.

    score: see ``scores``; it is asked for every row by itself, so one that reads a partner does not fit. Lists of fewer
    than ``least`` rows have no weight. Metrics, where lists have values: 'accuracy', the share of a list's pairs of
    different values that z orders as they do (a tie counts ½), and 'margin', z of the best row minus z of the worst.
    """

    def unit(batch: Batch, stats: Stats) -> Tensor:
        lists = batch.read("lists")
        return loss(row_scores(score, batch, lists), lists)

    def weight(batch: Batch) -> Tensor:
        lists = batch.read("lists")
        return torch.where(lists.mask.sum(-1) >= least, lists.weights(), 0.0)

    def metrics(batch: Batch, stats: Stats) -> Metrics:
        lists = batch.read("lists")
        if lists.value is None:
            return {}
        z = row_scores(score, batch, lists)
        better = ordered(lists)
        gap = z[:, :, None] - z[:, None, :]
        right = torch.where(better, (gap > 0).to(z) + 0.5 * (gap == 0).to(z), 0.0).sum((-1, -2))
        count = better.sum((-1, -2))
        ranked = count > 0
        order = lists.ranking()
        worst = (lists.mask.sum(-1, keepdim=True) - 1).clamp(min=0)
        margin = (z.gather(-1, order[:, :1]) - z.gather(-1, order.gather(-1, worst))).squeeze(-1)
        return {
            "accuracy": ((right / count.clamp(min=1))[ranked].sum(), ranked.sum().to(z)),
            "margin": (margin[ranked].sum(), ranked.sum().to(z)),
        }

    return Objective((Term(name, ("lists", *score.needs, *needs), unit, weight, None, metrics),))


def row_scores(score: Score, batch: Batch, lists: Lists) -> Tensor:
    """z [G,K] of every row of the lists, 0 where a list has none."""
    at = lists.rows.clamp(min=0).reshape(-1)
    found = score(batch, Pairs(at, at), 1).view(lists.rows.shape)
    return torch.where(lists.mask, found, torch.zeros_like(found))


def ordered(lists: Lists) -> Tensor:
    """bool [G,K,K]: whether the row of the second index is worth less than that of the first."""
    value = lists.values()
    both = lists.mask[:, :, None] & lists.mask[:, None, :]
    return both & (value[:, :, None] > value[:, None, :])


def plackett_luce(top: int | None = None) -> ListLoss:
    """−Σ_k log P(the k-th best is chosen of the k-th and worse), ranked by the lists' values; ``top``: of the first
    places alone. Rows of equal value keep their order in the list."""

    def loss(z: Tensor, lists: Lists) -> Tensor:
        order = lists.ranking()
        return ranking_likelihood(z, order, lists.mask.gather(-1, order), top=top)

    return loss
