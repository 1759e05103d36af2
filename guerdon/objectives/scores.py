"""Scores of one side of a pair: a function (batch, pairs, sign) -> [P], sign +1 for winners and −1 for losers.

Most ignore the sign; token weights that differ by side (TGDPO) and rules that look at the partner's length (LD-DPO,
SamPO) use it.
"""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from guerdon import reduce
from guerdon.batch import Batch, Pairs, Steps
from guerdon.errors import NeedsError


@dataclass(frozen=True)
class Score:
    """call: (batch, pairs, sign) -> [P]; needs: the paths it reads; unit: what a difference of 1 means."""

    name: str
    call: Callable[[Batch, Pairs, int], Tensor]
    needs: tuple[str, ...]
    unit: str = "nats"

    def __call__(self, batch: Batch, pairs: Pairs, sign: int) -> Tensor:
        return self.call(batch, pairs, sign)


def log_ratio(of: str = "policy", to: str = "reference") -> Score:
    """ρ(y) = Σ_t log π_of − log π_to, summed over the row's live steps, in nats."""

    def call(batch: Batch, pairs: Pairs, sign: int) -> Tensor:
        steps = _steps(batch)
        return reduce.total(_against(steps, of, to), steps.mask)[pairs.rows(sign)]

    return Score("log_ratio", call, (f"steps.logp.{of}", f"steps.logp.{to}"))


def mean_log_ratio(of: str = "policy", to: str = "reference") -> Score:
    """ρ(y)/|y|, in nats a step."""

    def call(batch: Batch, pairs: Pairs, sign: int) -> Tensor:
        steps = _steps(batch)
        return reduce.average(_against(steps, of, to), steps.mask)[pairs.rows(sign)]

    return Score("mean_log_ratio", call, (f"steps.logp.{of}", f"steps.logp.{to}"), "nats a step")


def mean_logprob(of: str = "policy") -> Score:
    """log π(y)/|y|, in nats a step; needs no reference."""

    def call(batch: Batch, pairs: Pairs, sign: int) -> Tensor:
        steps = _steps(batch)
        return reduce.average(steps.logprob(of), steps.mask)[pairs.rows(sign)]

    return Score("mean_logprob", call, (f"steps.logp.{of}",), "nats a step")


def weighted_log_ratio(
    weights: Callable[[Batch, int], Tensor], needs: tuple[str, ...], of: str = "policy", to: str = "reference"
) -> Score:
    """Σ_t w_t·(log π_of − log π_to); ``weights(batch, sign)`` gives [N,T] and is detached here."""

    def call(batch: Batch, pairs: Pairs, sign: int) -> Tensor:
        steps = _steps(batch)
        weight = reduce.masked(weights(batch, sign).detach(), steps.mask)
        return reduce.total(weight * _against(steps, of, to), steps.mask)[pairs.rows(sign)]

    return Score("weighted_log_ratio", call, (f"steps.logp.{of}", f"steps.logp.{to}", *needs))


def head(name: str = "reward") -> Score:
    """The scalar head ``name`` of a reward model, one number a row."""
    return Score(
        f"head:{name}",
        lambda batch, pairs, sign: batch.read(f"heads.{name}")[pairs.rows(sign)],
        (f"heads.{name}",),
        "reward",
    )


def scaled(factor: float, score: Score) -> Score:
    """``factor`` times a score: β·ρ is the implicit reward of DPO."""
    return Score(score.name, lambda batch, pairs, sign: factor * score(batch, pairs, sign), score.needs, "reward")


def _steps(batch: Batch) -> Steps:
    if batch.steps is None:
        raise NeedsError("This score reads steps, but the batch has none.")
    return batch.steps


def _against(steps: Steps, of: str, to: str) -> Tensor:
    """log π_of − sg(log π_to) per step [N,T]: what is compared with is never trained."""
    return steps.logprob(of) - steps.logprob(to).detach()
