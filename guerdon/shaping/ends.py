"""What stands after a step: the next step of the row, and what an end of an episode means.

Terminated: the episode is over, the future is worth 0. Truncated: a limit cut it, the future goes on and must be
valued by the state that was really reached. Potentials and advantages share this, so that both read ends the same way.
"""

import torch
from torch import Tensor

from guerdon.errors import GuerdonError
from guerdon.reduce import masked


def last_step(mask: Tensor) -> Tensor:
    """True on the last True step of every row: bool [N,T] -> bool [N,T]; a row without steps has none."""
    later = mask.flip(-1).cumsum(-1).flip(-1)
    return mask & (later == 1)


def next_in_row(x: Tensor, mask: Tensor) -> Tensor:
    """The value at the row's next True step, gaps skipped: [N,T] -> [N,T]; 0 on and after the last True step."""
    steps = x.shape[-1]
    at = torch.where(mask, torch.arange(steps, device=mask.device), steps)
    # Smallest True position at or after t, then shifted by one to mean strictly after t.
    nearest = at.flip(-1).cummin(-1).values.flip(-1)
    after = torch.cat([nearest[..., 1:], torch.full_like(nearest[..., :1], steps)], -1)
    padded = torch.cat([masked(x, mask), torch.zeros_like(x[..., :1])], -1)
    return padded.gather(-1, after)


def as_step_flag(flag: Tensor, mask: Tensor) -> Tensor:
    """A flag a row [N] (how the row ended) or a step [N,T] -> bool [N,T], True only inside the mask."""
    if flag.dtype != torch.bool or flag.shape not in (mask.shape, mask.shape[:1]):
        raise GuerdonError(
            f"An end flag must be bool [N] or [N,T] = {list(mask.shape)}, but {flag.dtype} {list(flag.shape)} came."
        )
    return (flag.unsqueeze(-1) & last_step(mask)) if flag.ndim == 1 else (flag & mask)


def successor(
    x: Tensor, mask: Tensor, terminated: Tensor, truncated: Tensor, after: Tensor | None, what: str
) -> Tensor:
    """x of the state after each step [N,T]: 0 where terminated, ``after`` where given, else the row's next step.

    terminated, truncated: bool [N,T]. Raises GuerdonError where a step is cut (truncated, or the row's last step
    without a termination) and ``after`` is None: the next entry belongs to another episode or does not exist.
    """
    if after is None:
        open_end = (truncated | last_step(mask)) & mask & ~terminated
        if bool(open_end.any()):
            row, step = open_end.nonzero()[0].tolist()
            raise GuerdonError(
                f"Row {row} is cut at step {step} without terminating, so the {what} of the state after it is needed; "
                f"give it for every step, or mark the row as terminated."
            )
        after = next_in_row(x, mask)
    return masked(after, mask & ~terminated)
