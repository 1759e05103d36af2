"""Signed expectations of log π over named rows: SFT, RPO, VPO, SELM, XPO."""

import torch
from torch import Tensor

from guerdon import reduce
from guerdon.batch import Batch
from guerdon.errors import GuerdonError
from guerdon.objectives.terms import Objective, Stats, Term


def expectation(
    sign: float = -1.0, rows: str | None = None, per: str = "total", of: str = "policy", name: str = "expectation"
) -> Objective:
    """sign × E over rows of log π, so −1 raises likelihood (SFT, RPO) and +1 lowers it (VPO, SELM).

    rows: a named index set of the batch ('chosen', 'dispreferred', …), or None for all rows; 'winner' and 'loser' read
    the pairs. per: 'total' (Σ_t log π a row), 'average' (mean over the row's steps) or 'token' (every live step weighs
    the same). Rows without a live step have no weight. Raises GuerdonError for another ``per``.
    """
    if per not in ("total", "average", "token"):
        raise GuerdonError(f"expectation(per=…) must be 'total', 'average' or 'token', but {per!r} came.")

    def index(batch: Batch) -> Tensor:
        if rows is None:
            return torch.arange(len(batch), device=batch.device)
        if rows in ("winner", "loser"):
            return batch.read("pairs").rows(1 if rows == "winner" else -1)
        return batch.read(f"rows.{rows}")

    def unit(batch: Batch, stats: Stats) -> Tensor:
        steps = batch.read("steps").take(index(batch))
        logp = sign * steps.logprob(of)
        if per == "token":
            return logp.reshape(-1)
        return (reduce.total if per == "total" else reduce.average)(logp, steps.mask)

    def weight(batch: Batch) -> Tensor:
        mask = batch.read("steps").mask[index(batch)]
        return mask.reshape(-1).float() if per == "token" else mask.any(-1).float()

    needed = {None: (), "winner": ("pairs",), "loser": ("pairs",)}.get(rows, (f"rows.{rows}",))
    return Objective((Term(name, (f"steps.logp.{of}", *needed), unit, weight),))


def sft(rows: str | None = None) -> Objective:
    """Mean negative log-likelihood of the live steps: the ordinary supervised loss, on all rows, a named set, or
    'winner' rows."""
    return expectation(-1.0, rows, "token", name="sft")
