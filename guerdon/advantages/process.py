"""Token rewards and outcome rewards with separate leave-one-out baselines (PRIME)."""

import torch
from torch import Tensor

from guerdon.advantages.estimate import Estimate, everyone
from guerdon.advantages.group import rloo
from guerdon.batch import Partition
from guerdon.reduce import average, discounted_suffix_sum, leave_one_out_mean, masked


def prime(
    token_reward: Tensor,
    outcome: Tensor,
    partition: Partition,
    mask: Tensor,
    *,
    gamma: float = 1.0,
    ok: Tensor | None = None,
    process_weight: float = 1.0,
    outcome_weight: float = 1.0,
    bounded: bool = False,
) -> Estimate:
    """A_t = w_p Σ_{s≥t} γ^{s−t} [r_s − mean of the peers' token means] + w_o [o − mean of the peers' outcomes].

    PRIME (Cui et al. 2025, eq. 5): token_reward [N,T], outcome [N] -> [N,T]. The process baseline is a mean *per
    token*, subtracted at every token, so a long response gathers no offset.
    bounded: divide the process rewards by the largest
    |reward to go| of the batch first, as the released code does (with both weights 5). Rows without valid peers get 0
    and ok False.
    """
    valid = everyone(outcome, ok)
    outcome_part = rloo(outcome, partition, valid)
    counted = mask & valid.unsqueeze(-1)
    token = masked(token_reward.detach(), counted)
    if bounded:
        largest = discounted_suffix_sum(token, 1.0, counted).abs().max() if token.numel() else token.new_zeros(())
        token = token / torch.where(largest > 0, largest, 1.0)
    ids = partition.ids.to(token.device)
    # A row without a single True step has no token mean and must not pull its peers' baseline towards 0.
    has_steps = valid & mask.any(-1)
    baseline = leave_one_out_mean(average(token, counted), ids, has_steps)
    process = discounted_suffix_sum(token - baseline.unsqueeze(-1), gamma, counted)
    kept = mask & outcome_part.ok.unsqueeze(-1)
    advantage = process_weight * process + outcome_weight * outcome_part.advantage.unsqueeze(-1)
    return Estimate(masked(advantage, kept), kept)
