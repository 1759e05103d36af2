"""Triples out of rated lists: the best response is cloned, the second best is preferred to the worst (Triple PO)."""

import torch
from torch import Tensor

from guerdon.batch import Batch, Lists
from guerdon.objectives.free import total_logprob
from guerdon.objectives.listwise import ListLoss, listwise
from guerdon.objectives.scores import mean_logprob, scaled
from guerdon.objectives.terms import Objective, Stats, Term
from guerdon.preferences import bradley_terry


def triple_po(beta: float = 0.01, weight: float = 1.0, smoothing: float = 0.0) -> Objective:
    """−log σ(β(log π(y_w) − log π(y_l))) + weight·NLL(y_gold) (Saeidi et al. 2024, 2405.16681): y_gold the best row of
    a list, y_w the second best, y_l the worst.

    Sums for the pair, the mean over steps for the NLL; no reference policy (the paper calls y_gold 'reference'). In a
    list of two rows the best is cloned *and* preferred, which is CPO.
    """
    pair = listwise(scaled(beta, total_logprob()), second_against_worst(smoothing=smoothing), name="triple_po")
    return pair + weight * gold()


def triple_po_l(beta: float = 2.0, gamma: float = 0.5, weight: float = 1.0, smoothing: float = 0.0) -> Objective:
    """The same with mean log-probabilities and a target margin: −log σ(β·avg_w − β·avg_l − γ) + weight·NLL(y_gold)
    (TPO-L, later versions of the same paper). β has SimPO's scale; γ is in reward units."""
    score = scaled(beta, mean_logprob())
    return listwise(score, second_against_worst(gamma, smoothing), name="triple_po_l") + weight * gold()


def second_against_worst(margin: float = 0.0, smoothing: float = 0.0) -> ListLoss:
    """−log σ(z_second − z_worst − margin) [G], by the lists' values; the best stands in for the second of two rows."""

    def loss(z: Tensor, lists: Lists) -> Tensor:
        order, count = lists.ranking(), lists.mask.sum(1, keepdim=True)
        chosen = order.gather(1, (count > 2).long())
        worst = order.gather(1, (count - 1).clamp(min=0))
        return bradley_terry(z.gather(1, chosen)[:, 0], z.gather(1, worst)[:, 0], margin=margin, smoothing=smoothing)

    return loss


def gold(of: str = "policy") -> Objective:
    """Mean negative log-likelihood of the steps of every list's best row; each step weighs as its list does, and lists
    of fewer than two rows not at all."""

    def best(batch: Batch) -> tuple[Lists, Tensor]:
        lists: Lists = batch.read("lists")
        return lists, lists.rows.gather(1, lists.ranking()[:, :1])[:, 0]

    def unit(batch: Batch, stats: Stats) -> Tensor:
        return -batch.read("steps").take(best(batch)[1]).logprob(of).reshape(-1)

    def weight(batch: Batch) -> Tensor:
        lists, rows = best(batch)
        own = torch.where(lists.mask.sum(1) > 1, lists.weights(), 0.0)
        return (batch.read("steps").mask[rows] * own[:, None]).reshape(-1)

    return Objective((Term("gold", (f"steps.logp.{of}", "lists"), unit, weight),))
