"""log p(label) of few tokens: the gradient with respect to the logits is made in the forward pass and kept, so that the
backward pass is two matrix products."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import pad

from guerdon.logprobs.blocks import Plan, block_logits, chunks, narrowed


class KeptLogprobs(torch.autograd.Function):
    """(hidden [n,D], weight [V,D], bias [V] or None, labels int64 [n], plan without softcap, keep) -> log p(label) [n].

    keep: whether there will be a backward pass. The values are the same to the bit, so that a policy and its own copy,
    read without gradient, agree exactly.

    With z the logits, m = max z and e = exp(z − m), the gradient of log p(y) is −(e − 1[y] Σe)/Σe. The bracket is kept,
    [n,V] in ``plan.products`` (its entry at y as minus the sum of the others, which rounds where 1 − p would cancel),
    and the factor of each row is put on the narrow side of both products.
    """

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, labels: Tensor, plan: Plan, keep: bool
    ) -> tuple[Tensor]:
        wide = torch.float64 if hidden.dtype == torch.float64 else torch.float32
        store, vocab = plan.products or wide, weight.shape[0]
        with torch.autocast(hidden.device.type, enabled=False):
            rows, head = hidden.to(wide), narrowed(weight, plan)
            kept = rows.new_empty(_even(len(rows), store, wide) if keep else 0, vocab, dtype=store)
            kept[len(rows) :] = 0
            at_once = max(1, plan.chunk_tokens * plan.chunk_vocab // vocab)
            direct = keep and store == wide
            scratch = None if direct else rows.new_empty(min(at_once, len(rows)), vocab)
            masses, logps = [rows.new_zeros(0, 1)], [rows.new_zeros(0)]
            for tokens in chunks(len(rows), at_once):
                x, label = rows[tokens], labels[tokens, None]
                z = kept[tokens] if scratch is None else scratch[: len(x)]
                for words in chunks(vocab, plan.chunk_vocab):
                    block_logits(x, head[words], None if bias is None else bias[words], plan, z[:, words])
                z.sub_(z.amax(1, keepdim=True))
                at = z.gather(1, label)
                z.exp_().scatter_(1, label, 0.0)
                others = z.sum(1, keepdim=True)
                z.scatter_(1, label, -others)
                if keep and scratch is not None:
                    kept[tokens] = z
                masses.append(others + at.exp())
                logps.append((at - masses[-1].log()).squeeze(1))
        ctx.plan = plan
        ctx.save_for_backward(rows, weight, bias, kept, torch.cat(masses))
        ctx.dtypes = (hidden.dtype, weight.dtype, None if bias is None else bias.dtype)
        return (torch.cat(logps),)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        rows, weight, _, kept, mass = ctx.saved_tensors
        scale = ctx.plan.before * ctx.plan.after
        factor = grads[0][:, None] * (-scale / mass)
        hidden_type, weight_type, bias_type = ctx.dtypes
        to_hidden, to_weight, to_bias = ctx.needs_input_grad[:3]
        with torch.autocast(rows.device.type, enabled=False):
            narrow, n = kept.dtype, len(rows)
            more = (0, 0, 0, len(kept) - n)
            scaled, factors = pad((rows * factor).to(narrow), more), pad(factor.to(narrow), more)
            return (
                ((kept @ weight.to(narrow))[:n] * factor).to(hidden_type) if to_hidden else None,
                (kept.T @ scaled).to(weight_type) if to_weight else None,
                (factors.T @ kept).squeeze(0).to(bias_type) if to_bias else None,
                None,
                None,
                None,
            )


def _even(n: int, store: torch.dtype, wide: torch.dtype) -> int:
    """Rows that are kept for n tokens: half-precision products compile a kernel for every new number of rows, so that
    the numbers should come back."""
    return n if store == wide else -(-n // 128) * 128
