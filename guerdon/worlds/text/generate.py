"""Batched sampling from a causal LM with its key–value cache, on plain tensors of ids."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from guerdon.batch import TokenRows
from guerdon.errors import GuerdonError
from guerdon.worlds.interface import Hook, Sampling, View
from guerdon.worlds.keyed import draw, uniform, warped
from guerdon.worlds.text import llama
from guerdon.worlds.text.heads import Head, backbone, capped, output
from guerdon.worlds.text.tokens import token_rows


@dataclass(frozen=True)
class Plan:
    """What to draw: prompts (each run through the model once); start int64 [N], the prompt of each row; keys int64
    [N] and rows int64 [N], each row's key and its number for hooks; limit: most steps a row; eos: int64 [E], the ids
    that end a row."""

    prompts: Sequence[Sequence[int]]
    start: Tensor
    keys: Tensor
    rows: Tensor
    limit: int
    eos: Tensor


@torch.no_grad()
def generate(
    model: nn.Module, head: Head, plan: Plan, sampling: Sampling, hooks: Sequence[Hook] = ()
) -> tuple[TokenRows, Tensor]:
    """(token rows, left-padded prompts then right-padded responses; terminated bool [N]).

    Rows that have ended leave the batch when half of it has, so that long rows do not carry the short ones.
    """
    device, n = plan.keys.device, len(plan.keys)
    prompt = token_rows(plan.prompts, [()] * len(plan.prompts), side="left", device=device)
    drawn = torch.zeros(n, plan.limit, dtype=torch.int64, device=device)
    length = torch.zeros(n, dtype=torch.int64, device=device)
    logps = torch.zeros(n, plan.limit, device=device)
    terminated = torch.zeros(n, dtype=torch.bool, device=device)
    logits, cache = _prefill(model, head, prompt, prompt.ids.shape[1] + plan.limit)
    logits = logits[plan.start]
    cache = _select(cache, plan.start)
    padded = not bool(prompt.attention.all())
    mask = prompt.attention[plan.start]
    position = mask.sum(1, keepdim=True)
    alive = torch.arange(n, device=device)  # the rows of the samples that the cache's rows are
    done = torch.zeros(n, dtype=torch.bool, device=device)
    for step in range(plan.limit):
        logits = _changed(logits, plan, sampling, hooks, step, alive, prompt, drawn)
        token, logp = _drawn(logits.float(), sampling, plan.keys[alive], step)
        live, fresh = alive[~done], token[~done]
        drawn[live, step], logps[live, step] = fresh, logp[~done]
        length[live] = step + 1
        terminated[live] = torch.isin(fresh, plan.eos)
        done = terminated[alive]
        left = len(done) - int(done.sum())
        if left == 0 or step + 1 == plan.limit:
            break
        if 2 * left <= len(done) and hasattr(cache, "batch_select_indices"):
            keep = (~done).nonzero().squeeze(-1)
            cache = _select(cache, keep)
            alive, token, mask, position, done = alive[keep], token[keep], mask[keep], position[keep], done[keep]
        if padded:
            mask = torch.cat([mask, mask.new_ones(len(mask), 1)], 1)
        logits, cache = _forward(model, head, token[:, None], mask if padded else None, position, cache)
        position = position + 1
    used = int(length.max()) if n else 0
    response = torch.arange(used, device=device) < length[:, None]
    before = prompt.attention[plan.start]
    payload = TokenRows(
        torch.cat([prompt.ids[plan.start], drawn[:, :used]], 1),
        torch.cat([before, response], 1),
        torch.cat([torch.zeros_like(before), response], 1),
        torch.cat([torch.zeros(before.shape, device=device), logps[:, :used]], 1),
        sampling.temperature,
    )
    return payload, terminated


def _drawn(logits: Tensor, sampling: Sampling, keys: Tensor, step: int) -> tuple[Tensor, Tensor]:
    """(tokens int64 [n], their log-probabilities [n]) of logits [n,V].

    Without top-p, a token is found in two steps, its block and then its place there, so that only sums of blocks are
    ever added up in float64: the same law and, but for rounding, the same tokens as ``keyed.draw``.
    """
    if sampling.top_p < 1:
        logp = warped(logits, sampling.temperature, sampling.top_p)
        token = logp.argmax(-1) if sampling.greedy else draw(logp, uniform(keys, step))
        return token, logp.gather(-1, token[:, None]).squeeze(-1)
    p = torch.softmax(logits if sampling.temperature == 1 else logits / sampling.temperature, -1)
    token = logits.argmax(-1) if sampling.greedy else in_blocks(p, uniform(keys, step))
    return token, p.gather(-1, token[:, None]).squeeze(-1).log()


def in_blocks(p: Tensor, u: Tensor, width: int = 64) -> Tensor:
    """int64 [n]: one index a row of weights p [n,V] ≥ 0 by the inverse of the cumulative distribution at u [n] in
    [0, 1). An index of weight 0 is never drawn; a row must have a positive weight."""
    if short := -p.shape[1] % width:
        p = nn.functional.pad(p, (0, short))
    blocks = p.unflatten(1, (-1, width))
    ends = blocks.sum(-1).double().cumsum(-1)
    target = u * ends[:, -1]
    block = torch.searchsorted(ends, target[:, None], right=True)
    begin = torch.where(block > 0, ends.gather(1, (block - 1).clamp(min=0)), 0.0)
    within = (target[:, None] - begin) / (ends.gather(1, block) - begin)
    inside = blocks[torch.arange(len(p), device=p.device), block[:, 0]].double().cumsum(-1)
    # A share that rounds to 1 would fall behind the block's last index.
    share = within.clamp(max=1 - 2.0**-52) * inside[:, -1:]
    return (block * width + torch.searchsorted(inside, share, right=True))[:, 0]


def _prefill(model: nn.Module, head: Head, prompt: TokenRows, room: int) -> tuple[Tensor, Any]:
    position = (prompt.attention.long().cumsum(1) - 1).clamp(min=0)
    mask = None if bool(prompt.attention.all()) else prompt.attention
    return _forward(model, head, prompt.ids, mask, position, None, room)


def _forward(
    model: nn.Module, head: Head, ids: Tensor, mask: Tensor | None, position: Tensor, cache: Any, room: int = 0
) -> tuple[Tensor, Any]:
    """Logits [n,V] after the last token, and the cache with these tokens in it."""
    if head.fast:
        hidden, cache = llama.decode(backbone(model), ids, mask, position, cache, room)
        return output(model)(hidden[:, -1]), cache
    inputs = {"input_ids": ids, "position_ids": position, "past_key_values": cache, "use_cache": True}
    if mask is not None:
        inputs["attention_mask"] = mask.long()
    if head.linear:
        out = backbone(model)(**inputs)
        return capped(output(model)(out[0][:, -1]), head.softcap), out.past_key_values
    out = model(**inputs)
    return out.logits[:, -1], out.past_key_values


def _select(cache: Any, rows: Tensor) -> Any:
    cache.batch_select_indices(rows)
    return cache


def _changed(
    logits: Tensor,
    plan: Plan,
    sampling: Sampling,
    hooks: Sequence[Hook],
    step: int,
    alive: Tensor,
    prompt: TokenRows,
    drawn: Tensor,
) -> Tensor:
    """Logits after the hooks, in order, and after the ban on ending too early."""
    if hooks:
        at = plan.start[alive]
        state = {
            "ids": torch.cat([prompt.ids[at], drawn[alive, :step]], 1),
            "attention": torch.cat([prompt.attention[at], torch.ones_like(drawn[alive, :step], dtype=torch.bool)], 1),
        }
        for hook in hooks:
            logits = hook(logits, View(plan.rows[alive], step, state))
    if step < sampling.minimum:
        # Logits of a hook may be its own tensor; the model's are nobody else's.
        logits = logits.index_fill(-1, plan.eos, -torch.inf) if hooks else logits.index_fill_(-1, plan.eos, -torch.inf)
    if hooks:
        usable = (logits > -torch.inf).any(-1) & ~logits.isnan().any(-1)
        if not bool(usable.all()):
            row = int(plan.rows[alive][~usable][0])
            raise GuerdonError(
                f"A hook left row {row} no token to draw at step {step}: all logits are −inf, or one is NaN."
            )
    return logits
