"""SRPO: one model answers and improves answers; both follow from the same preference by squared losses on pairs."""

from dataclasses import replace

import torch
from torch import Tensor

from guerdon.batch import Batch, Lists
from guerdon.errors import GuerdonError
from guerdon.objectives.listwise import ListLoss, listwise, row_scores
from guerdon.objectives.scores import Score, log_ratio
from guerdon.objectives.terms import Metrics, Objective, Stats

ROLES = ("w", "l", "w|l", "l|l", "w|w", "l|w")
"""Columns of the lists; a|b is response a given as the better version of b."""


def improver(beta: float) -> ListLoss:
    """[g − β(ρ(w|l) − ρ(l|l))]² + [g − β(ρ(w|w) − ρ(l|w))]², g = p̂ − ½ (½ for a hard label): for both previous answers
    p(new ≻ old) = ½ + β(ρ(new|old) − ρ(old|old)), the optimal improver."""

    def loss(z: Tensor, lists: Lists) -> Tensor:
        gap = _gap(z, lists)
        _, _, w_l, l_l, w_w, l_w = z.unbind(-1)
        return (gap - beta * (w_l - l_l)).square() + (gap - beta * (w_w - l_w)).square()

    return loss


def generator(beta: float) -> ListLoss:
    """[g − (β/2)(ρ(w|l) − ρ(l|w) + ρ(w) − ρ(l))]², g = p̂ − ½: the answer that the optimal improver improves least."""

    def loss(z: Tensor, lists: Lists) -> Tensor:
        gap = _gap(z, lists)
        w, l, w_l, _, _, l_w = z.unbind(-1)
        return (gap - beta / 2 * (w_l - l_w + w - l)).square()

    return loss


def srpo(beta: float = 0.05, alpha: float = 0.5, of: str = "policy", to: str = "reference") -> Objective:
    """(1 − α)·generator + α·improver over lists of the six rows ``ROLES``, ρ the summed log-ratio of a row to the
    reference given the same request (Choi et al. 2024, 2406.01660).

    Both losses vanish at the solution for any preference matrix, so it does not depend on where the pairs came from.
    The lists' values, where there are any, hold p̂(w ≻ l) in their first column (a soft label; 1 where None). The
    paper's β and α could not be looked up: log-ratios are sums, so β is small. Raises GuerdonError for lists of other
    than six columns.
    """
    score = log_ratio(of, to)
    answer = _of_roles("generator", score, generator(beta), (("w", "l"),))
    improve = _of_roles("improver", score, improver(beta), (("w|l", "l|l"), ("w|w", "l|w")))
    return (1 - alpha) * answer + alpha * improve


def _of_roles(name: str, score: Score, loss: ListLoss, better: tuple[tuple[str, str], ...]) -> Objective:
    """A listwise loss whose metrics are the mean margin of ``better`` (first role over second) and how often it is
    above 0 (a tie counts ½)."""

    def metrics(batch: Batch, stats: Stats) -> Metrics:
        lists = batch.read("lists")
        z = row_scores(score, batch, lists)
        gap = torch.stack([z[:, ROLES.index(a)] - z[:, ROLES.index(b)] for a, b in better])
        right = (gap > 0).to(z) + 0.5 * (gap == 0).to(z)
        count = torch.full((), float(gap.numel()), device=z.device)
        return {"accuracy": (right.sum(), count), "margin": (gap.sum(), count)}

    (term,) = listwise(score, loss, name, least=len(ROLES)).terms
    return Objective((replace(term, metrics=metrics),))


def _gap(z: Tensor, lists: Lists) -> Tensor:
    """p̂ − ½ [G]."""
    if z.shape[-1] != len(ROLES):
        raise GuerdonError(f"SRPO reads lists of the six rows {', '.join(ROLES)}, but lists of {z.shape[-1]} came.")
    if lists.value is None:
        return torch.full_like(z[:, 0], 0.5)
    return lists.values()[:, 0].to(z) - 0.5
