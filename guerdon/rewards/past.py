"""A reward that compares trajectories with those before them: the win rate against a queue."""

from collections.abc import Callable

import torch
from torch import Tensor

from guerdon.batch import Channel, Samples, Scores, Status
from guerdon.errors import GuerdonError
from guerdon.rewards.interface import Context, Reward, State

Summary = Callable[[Samples], Tensor]
"""Samples -> [N,F]: what a preference sees of every trajectory (its return, or several criteria)."""
Comparison = Callable[[Tensor, Tensor], Tensor]
"""(first [N,1,F], second [1,M,F]) -> P(first ≻ second) [N,M], ½ for equals."""


def higher(first: Tensor, second: Tensor) -> Tensor:
    """1 where the first criterion of the first is higher, ½ where both are equal, else 0."""
    return 0.5 * (1 + torch.sign(first[..., 0] - second[..., 0]))


class WinRateQueue(Reward):
    """Win rate of every row against the ``size`` trajectories before this call and the other rows of it: the practical
    SPO for control (Swamy et al. 2024, 2401.04056, Algorithm 2), a value a row in [0, 1].

    Then the rows join the queue and the oldest leave it (state 'queue'; not where ``context.training`` is False). A row
    with no opponent yet is not applicable. The same trajectory is worth something else later on: never train on old
    rewards, and keep the queue short. The paper's Bernoulli or noisy preferences are probabilities here. Raises
    GuerdonError for a size below 1, or a preference of another shape.
    """

    def __init__(
        self, summary: Summary, preference: Comparison = higher, size: int = 10, name: str = "win_rate"
    ) -> None:
        if size < 1:
            raise GuerdonError(f"WinRateQueue(size=…) must be at least 1, but {size} came.")
        self.summary, self.preference, self.size, self.name = summary, preference, size, name
        self.channels = (name,)

    def score(self, samples: Samples, state: State, context: Context) -> tuple[Scores, State]:
        """Win rates of the rows, and the queue after them."""
        seen = self.summary(samples).detach().float().cpu()
        seen = seen[:, None] if seen.ndim == 1 else seen
        queue = state.get("queue", seen[:0])
        others = torch.cat([queue, seen])
        p = self.preference(seen[:, None], others[None])
        if p.shape != (len(seen), len(others)):
            raise GuerdonError(
                f"The preference of {self.name!r} must give {[len(seen), len(others)]}, but gave {list(p.shape)}."
            )
        counted = torch.ones_like(p, dtype=torch.bool)
        counted[:, len(queue) :].fill_diagonal_(False)
        met = counted.sum(-1)
        value = torch.where(met > 0, torch.where(counted, p, 0.0).sum(-1) / met.clamp(min=1), torch.nan)
        status = torch.where(met > 0, int(Status.OK), int(Status.NOT_APPLICABLE)).to(torch.int8)
        after = {"queue": others[-self.size :]} if context.training else state
        return Scores({self.name: Channel(value, status)}), after
