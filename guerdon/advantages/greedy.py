"""ReMax: the reward of the greedy response as baseline."""

from typing import Literal

import torch
from torch import Tensor

from guerdon.advantages.estimate import Estimate, everyone
from guerdon.errors import GuerdonError
from guerdon.reduce import discounted_suffix_sum, masked, reverse_cumsum


def remax(
    reward: Tensor,
    greedy: Tensor,
    mask: Tensor,
    *,
    ok: Tensor | None = None,
    clip: float | None = None,
    gamma: float = 1.0,
    step_reward: Tensor | None = None,
    step_credit: Literal["current", "to_go"] = "current",
) -> Estimate:
    """G_t = γ^{T−t+1} · clip(r(y) − r(ȳ), ±clip) + k_t over the T True steps of a row (ReMax; Li et al. 2023).

    reward: [N] of the sampled response. greedy: [N], that of the greedy response to the same prompt. ok: bool [N], both
    rewards valid. step_reward: [N,T], such as −c·(log π_old − log π_ref); 'current' adds each step's own (as
    released), 'to_go' its sum to go. The paper's formula is γ = 1, clip None, no step reward; the released code has
    γ = 0.95, clip 5 (after the subtraction), c = 0.1, and gives the last token one factor γ.
    Returns advantage and ok, both [N,T].
    """
    if reward.shape != greedy.shape or reward.ndim != 1 or len(reward) != len(mask):
        raise GuerdonError(
            f"remax needs a reward and a greedy reward for each of the {len(mask)} rows, "
            f"but {list(reward.shape)} and {list(greedy.shape)} came."
        )
    valid = everyone(reward, ok)
    gap = masked(reward.detach(), valid) - masked(greedy.detach(), valid)
    if clip is not None:
        gap = gap.clamp(-clip, clip)
    counted = mask & valid.unsqueeze(-1)
    remaining = reverse_cumsum(torch.ones_like(mask, dtype=gap.dtype), counted)
    advantage = gap.unsqueeze(-1) * gamma**remaining
    if step_reward is not None:
        step = masked(step_reward.detach(), counted)
        advantage = advantage + (discounted_suffix_sum(step, gamma, counted) if step_credit == "to_go" else step)
    return Estimate(masked(advantage, counted), counted)
