"""Losses of single labelled rows, desirable or not, against a reference point of the whole batch: KTO."""

import torch
from torch import Tensor

from guerdon import reduce
from guerdon.batch import Batch
from guerdon.objectives.terms import Metrics, Objective, Stats, Term


def kto(
    beta: float = 0.1,
    desirable: float = 1.0,
    undesirable: float = 1.0,
    of: str = "policy",
    to: str = "reference",
) -> Objective:
    """λ_D (1 − σ(βρ − z₀)) on desirable rows, λ_U (1 − σ(z₀ − βρ)) on undesirable ones, ρ the row's summed log-ratio
    (Ethayarajh et al. 2024, 2402.01306, eq. 8).

    rows.desirable, rows.undesirable: the labelled rows; their number in the whole batch is the denominator, and the
    factors λ do not enter it. rows.mismatched: rows of a prompt with another prompt's response (``training.mismatched``
    names them); they are read for z₀ = max(0, β · mean of ρ over them) alone. The sum and the count are added over
    micro-batches and ranks before they are divided and clamped, and z₀ carries no gradient. Without a mismatched row
    (an empty set) z₀ is 0. Metrics: βρ of desirable and undesirable rows, z₀, and how often βρ lies on the label's side
    of z₀ (a tie counts ½).
    """

    def log_ratio(batch: Batch, index: Tensor) -> Tensor:
        steps = batch.read("steps").take(index)
        return reduce.total(steps.logprob(of) - steps.logprob(to).detach(), steps.mask)

    def labelled(batch: Batch) -> tuple[Tensor, Tensor]:
        """(rows [U], sign [U]: +1 where desirable)."""
        good, bad = batch.read("rows.desirable"), batch.read("rows.undesirable")
        return torch.cat([good, bad]), torch.cat([torch.ones_like(good), -torch.ones_like(bad)])

    def couple(batch: Batch) -> Stats:
        index = batch.read("rows.mismatched")
        total = log_ratio(batch, index).sum().detach()
        return {"log_ratio": total, "rows": torch.full_like(total, len(index))}

    def reference_point(stats: Stats) -> Tensor:
        return (beta * stats["log_ratio"] / stats["rows"].clamp(min=1)).clamp(min=0)

    def unit(batch: Batch, stats: Stats) -> Tensor:
        index, sign = labelled(batch)
        value = beta * log_ratio(batch, index)
        factor = torch.where(sign > 0, desirable, undesirable).to(value)
        # 1 − σ(x) is σ(−x), which keeps its digits where σ(x) is nearly 1.
        return factor * torch.sigmoid(-sign * (value - reference_point(stats)))

    def weight(batch: Batch) -> Tensor:
        return torch.ones(len(labelled(batch)[0]), device=batch.device)

    def metrics(batch: Batch, stats: Stats) -> Metrics:
        index, sign = labelled(batch)
        value, point = beta * log_ratio(batch, index), reference_point(stats)
        ahead = sign * (value - point)
        correct = (ahead > 0).to(value) + 0.5 * (ahead == 0).to(value)
        one = torch.ones_like(point)

        def over(x: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
            return torch.where(rows, x, 0).sum(), rows.sum().to(x)

        return {
            "desirable": over(value, sign > 0),
            "undesirable": over(value, sign < 0),
            "accuracy": over(correct, sign != 0),
            "reference_point": (point, one),
        }

    needs = (f"steps.logp.{of}", f"steps.logp.{to}", "rows.desirable", "rows.undesirable", "rows.mismatched")
    return Objective((Term("kto", needs, unit, weight, couple, metrics),))
