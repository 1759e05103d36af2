"""AOT: the sorted margins of the policy against the sorted margins of the reference, over the whole batch."""

from dataclasses import replace

import torch
from torch import Tensor

from guerdon import reduce
from guerdon.batch import Batch
from guerdon.objectives.pairwise import logistic, pairwise
from guerdon.objectives.scores import log_ratio, scaled
from guerdon.objectives.terms import Objective, Stats
from guerdon.preferences import bradley_terry


def aot(beta: float = 0.1, smoothing: float = 0.0) -> Objective:
    """−log σ(β(u_(k) − v_(k))), u = log π(y_w)/π(y_l) and v the reference's, each sorted over all pairs of the batch:
    the policy's margins shall dominate the reference's as distributions, not pair by pair (paired AOT, Melnyk et al.
    2024, 2406.05882).

    A pair is compared with the reference's margin of its own rank. v has no gradient and the order of u is a constant,
    so a unit is still one pair, and what it needs of the others is the two tables of values. Micro-batches and ranks
    each write their pairs into these tables at the places that ``columns.pair`` tells (``training.numbered_pairs`` or
    ``training.number_pairs``), and the tables are added: value and gradient cannot depend on the split. Equal margins
    keep the pairs' order. Pairs without weight are not in the tables; other weights do not move a rank, and margins of
    pairs are not read. ``smoothing`` as in ``dpo``.
    """

    def margins(batch: Batch, name: str) -> Tensor:
        steps, pairs = batch.read("steps"), batch.read("pairs")
        total = reduce.total(steps.logprob(name), steps.mask)
        return total[pairs.winner] - total[pairs.loser]

    def couple(batch: Batch) -> Stats:
        at, live = _numbers(batch), batch.read("pairs").weights() > 0
        u, v = (torch.where(live, margins(batch, name).detach(), 0.0) for name in ("policy", "reference"))
        empty = u.new_zeros(_count(batch))
        return {
            "policy": empty.index_put((at,), u),
            "reference": empty.index_put((at,), v),
            "live": empty.index_put((at,), live.to(u)),
        }

    def unit(batch: Batch, stats: Stats) -> Tensor:
        pairs = batch.read("pairs")
        u = margins(batch, "policy")
        rival = _same_rank(stats)[_numbers(batch)].to(u)
        return bradley_terry(beta * u, beta * rival, preferred=pairs.probability().to(u), smoothing=smoothing)

    (plain,) = pairwise(scaled(beta, log_ratio()), logistic(), name="aot", needs=("columns.pair",)).terms
    return Objective((replace(plain, unit=unit, couple=couple),))


def _same_rank(stats: Stats) -> Tensor:
    """v_(k) [all pairs], k the rank of the pair's u; 0 where a pair has no weight."""
    live = stats["live"] > 0
    u, v = (torch.where(live, stats[name], torch.inf) for name in ("policy", "reference"))
    rival = torch.zeros_like(v).index_put((torch.argsort(u, stable=True),), v.sort().values)
    return torch.where(live, rival, torch.zeros_like(rival))


def _numbers(batch: Batch) -> Tensor:
    """int64 [P]: every pair's number in the whole batch: that of its winner's first pair, and how many pairs of this
    winner stand before it (they are all in one part, in their order)."""
    winner = batch.read("pairs").winner
    order = torch.argsort(winner, stable=True)
    alike = winner[order]
    before = torch.arange(len(winner), device=winner.device) - torch.searchsorted(alike, alike)
    return batch.read("columns.pair")[winner, 0] + torch.zeros_like(winner).index_put((order,), before)


def _count(batch: Batch) -> int:
    """How many pairs the whole batch has; 0 in a batch without rows, which knows nothing of the others."""
    column = batch.read("columns.pair")
    return int(column[0, 1]) if len(column) else 0
