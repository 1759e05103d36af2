"""Advantages from comparing the rows of a group (GRPO and its kin), under the conventions frameworks really use.

The same rewards give the winner of [1,0,0,0] anything from 0.75 to 1.73, so the convention is a named argument.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

import torch
from torch import Tensor

from guerdon.advantages.estimate import Estimate, everyone
from guerdon.batch import Partition
from guerdon.errors import GuerdonError
from guerdon.reduce import group_count, group_std, leave_one_out_mean, leave_one_out_std, masked, std_all
from guerdon.shaping.groups import centred, ids_like, taking_part


@dataclass(frozen=True)
class Convention:
    """How a group's rewards become advantages.

    baseline: 'mean' of the group, or of the 'peers' (leave-one-out). scale: divide by the std of the 'group', the
    'peers', the whole 'batch', or not at all (None). correction: 1 unbiased variance, 0 population. eps: added to the
    std. Where the std is exactly 0 nothing is divided.
    """

    baseline: Literal["mean", "peers"] = "mean"
    scale: Literal["group", "peers", "batch"] | None = "group"
    correction: int = 1
    eps: float = 1e-4


CONVENTIONS: Mapping[str, Convention] = MappingProxyType(
    {
        "trl": Convention("mean", "group", 1, 1e-4),
        "trl_batch": Convention("mean", "batch", 1, 1e-4),
        "verl": Convention("mean", "group", 1, 1e-6),
        "slime": Convention("mean", "group", 1, 1e-6),
        "openrlhf": Convention("mean", "group", 1, 1e-9),
        "open_instruct": Convention("mean", "group", 0, 1e-8),
        "open_instruct_centered": Convention("mean", None),
        "prime_rl": Convention("mean", None),
        "dr_grpo": Convention("mean", None),
        "nemo_rl": Convention("peers", "peers", 1, 1e-6),
    }
)


def _convention(convention: str | Convention) -> Convention:
    if isinstance(convention, Convention):
        return convention
    if convention not in CONVENTIONS:
        raise GuerdonError(f"There is no group convention {convention!r}; choose one of {sorted(CONVENTIONS)}.")
    return CONVENTIONS[convention]


def group_relative(
    reward: Tensor, partition: Partition, ok: Tensor | None = None, convention: str | Convention = "trl"
) -> Estimate:
    """(reward − baseline of its group) / scale of its group, by a named convention.

    reward: [N] (or [N,T] with a partition of steps). Groups are ragged. Rows that are not ok never enter a mean or a
    std; they get 0 and ok False, and so do rows in no group and groups of one. Identical rewards give exactly 0.
    'dr_grpo' is Liu et al. 2025 (no std). Raises GuerdonError on an unknown convention.
    """
    rule = _convention(convention)
    ids, valid = ids_like(partition, reward), everyone(reward, ok)
    reward = masked(reward.detach(), valid)
    member = taking_part(ids, valid) & (group_count(ids, valid) > 1)
    if rule.baseline == "peers":
        gap = reward - leave_one_out_mean(reward, ids, valid)
    else:
        gap = centred(reward, ids, valid)
    if rule.scale == "group":
        std = group_std(reward, ids, valid, rule.correction)
    elif rule.scale == "peers":
        std = leave_one_out_std(reward, ids, valid, rule.correction)
    elif rule.scale == "batch":
        std = std_all(reward, member, rule.correction).expand(reward.shape)
    else:
        std = torch.zeros_like(gap)
    advantage = torch.where(std > 0, gap / torch.where(std > 0, std + rule.eps, 1.0), gap)
    return Estimate(masked(advantage, member), member)


def rloo(reward: Tensor, partition: Partition, ok: Tensor | None = None) -> Estimate:
    """reward − mean reward of one's peers (RLOO; Ahmadian et al. 2024, eq. 7): [N] -> [N].

    A row without valid peers has no baseline: it gets 0 and ok False instead of its raw reward.
    """
    return group_relative(reward, partition, ok, Convention("peers", None))


def reinforce(reward: Tensor, ok: Tensor | None = None, baseline: Tensor | float | None = None) -> Estimate:
    """reward − baseline: [N] -> [N]; the baseline is the mean over the valid rows of the batch unless one is given.

    A given baseline (a number or [N], such as a running mean or a value head) is detached.
    """
    valid = everyone(reward, ok)
    reward = masked(reward.detach(), valid)
    if baseline is None:
        return Estimate(centred(reward, torch.zeros_like(valid, dtype=torch.int64), valid), valid)
    given = torch.as_tensor(baseline, dtype=reward.dtype, device=reward.device).detach().expand(reward.shape)
    return Estimate(masked(reward - masked(given, valid), valid), valid)
