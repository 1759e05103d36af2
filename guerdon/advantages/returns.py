"""Returns and generalised advantages along the steps of a row, with both kinds of ends told apart."""

from typing import NamedTuple

import torch
from torch import Tensor

from guerdon.errors import GuerdonError
from guerdon.reduce import discounted_suffix_sum, masked, real
from guerdon.shaping.ends import as_step_flag, last_step, next_in_row, successor


class Gae(NamedTuple):
    """advantage and returns (advantage + value, what a value function fits): [N,T], detached, 0 outside the mask."""

    advantage: Tensor
    returns: Tensor


def _until(end: Tensor, rate: float, like: Tensor) -> Tensor:
    """The decay [N,T] of a scan: rate, 0 at ends, in the precision of ``like`` (0.97 in float32 is another number)."""
    return torch.full_like(real(like), rate).masked_fill(end, 0.0)


def monte_carlo(reward: Tensor, mask: Tensor, gamma: float = 1.0, ends: Tensor | None = None) -> Tensor:
    """Discounted reward to go: Σ_{s≥t} γ^{s−t} r_s over the row's True steps, [N,T] -> [N,T], 0 outside the mask.

    ends: bool [N,T], True on the last step of an episode where several share a row (nothing flows back across it).
    Nothing is bootstrapped: a truncated row's return counts only what was seen.
    """
    if ends is None:
        return discounted_suffix_sum(reward.detach(), gamma, mask)
    return discounted_suffix_sum(reward.detach(), _until(as_step_flag(ends, mask), gamma, reward), mask)


def gae(
    reward: Tensor,
    value: Tensor,
    mask: Tensor,
    *,
    terminated: Tensor,
    truncated: Tensor | None = None,
    next_value: Tensor | None = None,
    gamma: float = 1.0,
    lam: float = 1.0,
    episodic: bool = True,
) -> Gae:
    """Generalised advantage estimation (Schulman et al. 2015, eq. 16) over rows [N,T].

    reward, value: [N,T], V of the state *before* the step. terminated, truncated: bool [N] (how the row ended) or
    [N,T] (a row may hold several episodes). next_value: V of the state the step really reached, [N,T], needed wherever
    a row is cut without terminating (V of the reset observation is a different state); elsewhere it may be NaN. Without
    it the value of the row's next True step is taken.

    A termination neither bootstraps nor lets anything flow back; a truncation bootstraps but lets nothing flow back.
    episodic=False ignores both ends (RND's intrinsic stream, Burda et al. 2018, sec. 2.3): then the last step needs
    ``next_value`` too. Time passes only at True steps. Raises GuerdonError where a needed next_value is missing.
    """
    if reward.shape != mask.shape or value.shape != mask.shape:
        raise GuerdonError(
            f"gae needs rewards and values like the mask {list(mask.shape)}, "
            f"but {list(reward.shape)} and {list(value.shape)} came."
        )
    value = masked(value.detach(), mask)
    over = as_step_flag(terminated, mask)
    cut = torch.zeros_like(mask) if truncated is None else as_step_flag(truncated, mask)
    if not episodic:
        over, cut = torch.zeros_like(over), torch.zeros_like(cut)
    if next_value is not None and not episodic:
        # Inside a row the stream goes on in the observation that follows, reset or not; only the last step is given.
        inner = mask & ~last_step(mask)
        next_value = torch.where(inner, next_in_row(value, mask), next_value)
    after = successor(value, mask, over, cut, None if next_value is None else next_value.detach(), "value")
    error = masked(reward.detach(), mask) + gamma * after - value
    advantage = discounted_suffix_sum(error, _until(over | cut, gamma * lam, error), mask)
    return Gae(advantage, masked(advantage + value, mask))
