"""Credit: a channel spread over the steps of its row, saying whether the optimal policy stays what it was."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from guerdon.batch import Channel, Status, Steps
from guerdon.errors import GuerdonError, NeedsError
from guerdon.reduce import last_in_span, lengths, masked, span_sum
from guerdon.shaping.ends import as_step_flag, last_step, successor


@runtime_checkable
class Credit(Protocol):
    """Channel + steps -> step rewards: a channel [N,T], NOT_APPLICABLE outside the mask, else its row's status."""

    name: str

    def keeps_optimum(self, gamma: float) -> bool:
        """Whether the optimal policy of the row's reward is still optimal for the step rewards discounted by gamma."""
        ...

    def __call__(self, channel: Channel, steps: Steps) -> Channel:
        """The step rewards."""
        ...


def _rows(channel: Channel, steps: Steps, name: str) -> tuple[Tensor, Tensor]:
    """(value [N,T] of the row, status [N,T]) for a row channel."""
    if channel.value.ndim != 1:
        raise GuerdonError(
            f"{name} gives a row's reward to its steps, but the channel is already {list(channel.value.shape)}."
        )
    shape = steps.mask.shape
    return channel.filled().unsqueeze(-1).expand(shape), channel.statuses().unsqueeze(-1).expand(shape)


def _stepwise(value: Tensor, status: Tensor, mask: Tensor, note: object) -> Channel:
    status = torch.where(mask, status, int(Status.NOT_APPLICABLE)).to(torch.int8)
    value = torch.where(
        status == int(Status.OK), value, torch.full((), float("nan"), dtype=value.dtype, device=value.device)
    )
    return Channel(value, status, note=note)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Terminal:
    """All of a row's reward on its last step."""

    name: str = "terminal"

    def keeps_optimum(self, gamma: float) -> bool:
        """Without discount the return is the row's reward; with it, long rows are worth less."""
        return gamma == 1.0

    def __call__(self, channel: Channel, steps: Steps) -> Channel:
        """[N] -> [N,T]."""
        value, status = _rows(channel, steps, self.name)
        return _stepwise(masked(value, last_step(steps.mask)), status, steps.mask, channel.note)


@dataclass(frozen=True)
class Uniform:
    """A row's reward shared equally among its steps, or repeated on each."""

    repeat: bool = False
    name: str = "uniform"

    def keeps_optimum(self, gamma: float) -> bool:
        """Shared and undiscounted the return is the row's reward; repeated it grows with the row's length."""
        return gamma == 1.0 and not self.repeat

    def __call__(self, channel: Channel, steps: Steps) -> Channel:
        """[N] -> [N,T]."""
        value, status = _rows(channel, steps, self.name)
        share = 1.0 if self.repeat else 1.0 / lengths(steps.mask).clamp(min=1).unsqueeze(-1)
        return _stepwise(value * share, status, steps.mask, channel.note)


@dataclass(frozen=True)
class SpanTerminal:
    """The rewards standing on the steps of a span, all on the span's last step."""

    level: str
    name: str = "span_terminal"

    def keeps_optimum(self, gamma: float) -> bool:
        """Without discount moving a reward to a later step of its span changes no return."""
        return gamma == 1.0

    def __call__(self, channel: Channel, steps: Steps) -> Channel:
        """A row's reward [N] goes to the end of its last span; step rewards [N,T] to the end of theirs.

        NOT_APPLICABLE steps are left out of their span's sum; a span with nothing left is NOT_APPLICABLE, one with a
        FAILED step FAILED, at its last step. Steps outside every span get 0.
        """
        if self.level not in steps.spans:
            raise NeedsError(f"span_terminal needs spans {self.level!r}, but the steps have {sorted(steps.spans)}.")
        spans = torch.where(steps.mask, steps.spans[self.level], -1)
        ends = last_in_span(spans)
        if channel.value.ndim == 1:
            value, status = _rows(channel, steps, self.name)
            return _stepwise(masked(value, last_step(spans >= 0)), status, steps.mask, channel.note)
        value = masked(span_sum(channel.filled(), spans), ends)
        some = span_sum(channel.ok.to(value.dtype), spans) > 0
        lost = span_sum(channel.failed.to(value.dtype), spans) > 0
        status = torch.where(ends & ~some, int(Status.NOT_APPLICABLE), int(Status.OK))
        status = torch.where(ends & lost, int(Status.FAILED), status)
        return _stepwise(value, status, steps.mask, channel.note)


def terminal() -> Terminal:
    """All of a row's reward on its last True step. Keeps the optimal policy at γ = 1."""
    return Terminal()


def uniform(*, repeat: bool = False) -> Uniform:
    """A row's reward shared equally among its True steps (keeps the optimal policy at γ = 1), or repeated on each (does
    not)."""
    return Uniform(repeat)


def span_terminal(level: str) -> SpanTerminal:
    """Rewards moved to the last step of their span ('turn', 'thought', …). Keeps the optimal policy at γ = 1."""
    return SpanTerminal(level)


def potential(
    phi: Tensor,
    mask: Tensor,
    gamma: float,
    *,
    terminated: Tensor,
    truncated: Tensor | None = None,
    next_phi: Tensor | None = None,
) -> Tensor:
    """γ Φ(s′) − Φ(s) on every step (Ng, Harada & Russell 1999): phi [N,T], of the state *before* the step.

    Keeps the optimal policy for any Φ when the returns are discounted with the same γ. Φ(s′) is 0 where the episode
    terminated and only there: at a truncation it is the potential of the state reached, which ``next_phi`` [N,T] must
    give (elsewhere it may be NaN; without it the row's next True step is taken). terminated, truncated: bool [N] or
    [N,T]. Over a terminated row the discounted sum is exactly −Φ(s_0). Raises GuerdonError where a needed next_phi is
    missing.
    """
    over = as_step_flag(terminated, mask)
    cut = torch.zeros_like(mask) if truncated is None else as_step_flag(truncated, mask)
    here = masked(phi, mask)
    return masked(gamma * successor(here, mask, over, cut, next_phi, "potential") - here, mask)
