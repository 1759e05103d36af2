"""The reward that an aligned policy implies, step by step: β times its log-ratio to the policy it was aligned from."""

from torch import Tensor

from guerdon.errors import GuerdonError
from guerdon.reduce import masked


def implicit_credit(log_ratio: Tensor, mask: Tensor, beta: float = 1.0, clip: float | None = None) -> Tensor:
    """β · (log π − log π_ref) of each step, [N,T] -> [N,T], 0 outside the mask, detached; held within ±clip *after*
    scaling where ``clip`` is given.

    Where every next state follows from state and action (tokens), the optimum π* of Σ r − β KL has β log π*/π_ref =
    r(s,a) + V*(s′) − V*(s), V* = 0 at the end (Rafailov et al. 2024, 2404.12358, sec. 4.2): the true reward but for
    shaping by the potential V*. A row sums to Σ r − V*(s_0); one step's value is shaped, so it ranks the steps of one
    state and not those of two. Raises GuerdonError for a clip that is not above 0.
    """
    if clip is not None and not clip > 0:
        raise GuerdonError(f"implicit_credit(clip=…) must be above 0, but {clip} came; give None for no clip.")
    value = beta * masked(log_ratio.detach(), mask)
    return value if clip is None else value.clamp(-clip, clip)
