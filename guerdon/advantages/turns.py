"""Advantages of spans (turns, thoughts) compared with the spans of the same group, added to the row's own."""

import torch
from torch import Tensor

from guerdon.advantages.estimate import Estimate, everyone
from guerdon.advantages.group import Convention, group_relative
from guerdon.batch import Partition
from guerdon.reduce import last_in_span, masked, spread_from_last
from guerdon.shaping.groups import ids_like


def span_relative(
    reward: Tensor,
    spans: Tensor,
    partition: Partition,
    mask: Tensor,
    ok: Tensor | None = None,
    convention: str | Convention = "dr_grpo",
) -> Estimate:
    """Each span's reward compared with all spans of its group, on every step of the span: [N,T] -> [N,T].

    reward: [N,T], a span's reward stands on its last True step (see shaping's span_terminal); elsewhere anything.
    spans: int64 [N,T], −1 outside. partition: rows that are compared, [N]; or [N,T] where turns have their own groups
    (ids on the last step). ok: bool [N,T], a span is valid where its last step is. A span counts once however long.
    """
    inside = torch.where(mask, spans, -1)
    ends = last_in_span(inside)
    unit = torch.where(ends, ids_like(partition, reward), -1)
    found = group_relative(reward, Partition(unit), everyone(reward, ok) & ends, convention)
    used = spread_from_last(found.ok.to(found.advantage.dtype), inside) > 0
    return Estimate(masked(spread_from_last(found.advantage, inside), used), used)


def turn_level(
    outcome: Tensor,
    reward: Tensor,
    spans: Tensor,
    partition: Partition,
    mask: Tensor,
    *,
    beta: float,
    ok: Tensor | None = None,
    turn_ok: Tensor | None = None,
    convention: str | Convention = "dr_grpo",
) -> Estimate:
    """A = A_row + β · A_turn on every step (VeRPO; Wang et al. 2026): outcome [N], turn reward [N,T] -> [N,T].

    A_row compares outcomes, A_turn the turns of the group, both without std by default. Steps outside every turn get
    A_row alone. A row is ok where its outcome is; a turn that is not ok, or whose group has one turn, adds nothing.
    """
    row = group_relative(outcome, partition, ok, convention)
    turn_valid = everyone(reward, turn_ok) & row.ok.unsqueeze(-1)
    turn = span_relative(reward, spans, partition, mask, turn_valid, convention)
    kept = mask & row.ok.unsqueeze(-1)
    return Estimate(masked(row.advantage.unsqueeze(-1) + beta * turn.advantage, kept), kept)
