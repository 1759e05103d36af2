"""The fused way: one autograd function, chunked over tokens and vocabulary."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from guerdon.errors import GuerdonError
from guerdon.logprobs.blocks import (
    Online,
    Plan,
    block_logits,
    block_slope,
    chunks,
    local_labels,
    narrowed,
    second_logits,
)
from guerdon.logprobs.checks import Head, Want, check_labels, checked_heads
from guerdon.logprobs.kept import KeptLogprobs

# Elements of one [chunk_tokens, chunk_vocab] block: on a CPU what stays near the cache, else what keeps a device busy.
_CPU_BLOCK = 1 << 21
_DEVICE_BLOCK = 1 << 24
# What is kept of the logits for the backward pass instead of being computed twice: never more than this many.
_CPU_KEPT = 1 << 24
_CHUNK_VOCAB = 1 << 11


class _TokenLogprobs(torch.autograd.Function):
    """Forward keeps one log-normaliser a token; backward computes each block again."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        labels: Tensor | None,
        second: Head | None,
        plan: Plan,
    ) -> tuple[Tensor, ...]:
        wide = torch.float64 if hidden.dtype == torch.float64 else torch.float32
        parts: dict[str, list[Tensor]] = {name: [] for name in plan.want}
        norms, norms2 = [hidden.new_zeros(0, dtype=wide)], [hidden.new_zeros(0, dtype=wide)]
        room = hidden.new_empty(min(plan.chunk_tokens, len(hidden)) * plan.chunk_vocab, dtype=wide)
        own = narrowed(weight, plan)
        other = None if second is None else (second[0], narrowed(second[1], plan), second[2])
        with torch.autocast(hidden.device.type, enabled=False):
            for tokens in chunks(hidden.shape[0], plan.chunk_tokens):
                rows = hidden[tokens].to(wide)
                rows2 = None if second is None else second[0][tokens].to(wide)
                online = Online(rows, plan)
                for words in chunks(weight.shape[0], plan.chunk_vocab):
                    head = own[words]
                    out = room[: len(rows) * len(head)].view(len(rows), len(head))
                    block = block_logits(rows, head, None if bias is None else bias[words], plan, out)
                    online.add(block, second_logits(rows2, other, words, plan), local_labels(labels, tokens, words))
                found, norm, norm2 = online.finish()
                for name in plan.want:
                    parts[name].append(found[name])
                norms.append(norm)
                norms2.append(norm2)
        outputs = tuple(torch.cat([norms[0], *parts[name]]) for name in plan.want)
        ctx.plan = plan
        head2 = second or (None, None, None)
        ctx.save_for_backward(hidden, weight, bias, labels, *head2, torch.cat(norms), torch.cat(norms2), *outputs)
        return outputs

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        hidden, weight, bias, labels, hidden2, weight2, bias2, norm, norm2, *outputs = ctx.saved_tensors
        plan: Plan = ctx.plan
        own = narrowed(weight, plan)
        second = None if hidden2 is None else (hidden2, narrowed(weight2, plan), bias2)
        # Sums over chunks are kept in the wide type and rounded once at the end.
        sums = [
            (torch.empty if len(hidden) else torch.zeros)(x.shape, dtype=norm.dtype, device=x.device)
            if needed
            else None
            for x, needed in zip((hidden, weight, bias), ctx.needs_input_grad[:3], strict=True)
        ]
        to_hidden, to_weight, to_bias = sums
        with torch.autocast(hidden.device.type, enabled=False):
            for tokens in chunks(hidden.shape[0], plan.chunk_tokens):
                rows = hidden[tokens].to(norm.dtype)
                rows2 = None if second is None else second[0][tokens].to(norm.dtype)
                arriving = zip(plan.want, grads, outputs, strict=True)
                flow = {name: (grad[tokens, None], out[tokens, None]) for name, grad, out in arriving}
                for words in chunks(weight.shape[0], plan.chunk_vocab):
                    head, offset = weight[words], None if bias is None else bias[words]
                    z = block_logits(rows, own[words], offset, plan)
                    z2 = second_logits(rows2, second, words, plan)
                    logq = None if z2 is None else z2 - norm2[tokens, None]
                    slope = block_slope(z - norm[tokens, None], logq, local_labels(labels, tokens, words), flow)
                    if plan.softcap is not None:
                        slope *= 1 - (z / plan.after).square()
                    if plan.before * plan.after != 1.0:
                        slope *= plan.before * plan.after
                    # The first to come overwrites what the memory held; zeros would cost a sweep of their own.
                    narrow = plan.products or norm.dtype
                    flat = slope.to(narrow)
                    if to_hidden is not None:
                        share = (flat @ head.to(narrow)).to(norm.dtype)
                        to_hidden[tokens] = share + to_hidden[tokens] if words.start else share
                    if to_weight is not None:
                        if plan.products is None:
                            to_weight[words].addmm_(slope.T, rows, beta=float(tokens.start > 0))
                        elif tokens.start:
                            to_weight[words] += flat.T @ rows.to(narrow)
                        else:
                            to_weight[words] = (flat.T @ rows.to(narrow)).to(norm.dtype)
                    if to_bias is not None:
                        to_bias[words] = slope.sum(0) + (to_bias[words] if tokens.start else 0)
        hidden_grad, weight_grad, bias_grad = (
            None if total is None else total.to(x.dtype) for total, x in zip(sums, (hidden, weight, bias), strict=True)
        )
        return hidden_grad, weight_grad, bias_grad, None, None, None


def token_logprobs(
    hidden: Tensor,
    weight: Tensor,
    labels: Tensor | None,
    *,
    bias: Tensor | None = None,
    mask: Tensor | None = None,
    want: Sequence[Want] = ("logp",),
    second: Head | None = None,
    temperature: float = 1.0,
    softcap: float | None = None,
    logit_scale: float = 1.0,
    real_vocab: int | None = None,
    chunk_tokens: int | None = None,
    chunk_vocab: int | None = None,
    products: torch.dtype | None = None,
    logits: torch.dtype | None = None,
) -> dict[str, Tensor]:
    """Statistics of every next-token distribution straight from hidden states, never forming [tokens, vocabulary].

    hidden [..., D]; weight [V, D]; bias [V]; labels int64 [...] (None if 'logp' is not wanted); mask bool [...].
    Returns name -> [...] for every name in `want`, float32 whatever the inputs' dtype, 0 where the mask is False:

    - 'logp': log p(label). 'entropy': -sum p log p, nats. 'collision': log sum p^2.
    - 'kl': KL(p || q), q from `second` = (hidden2 [..., D2], weight2 [V, D2], bias2 or None), detached, at the same
      temperature, softcap and scale. Infinite where q excludes a word that p does not.

    Gradients flow to hidden, weight and bias, for every output. Masked tokens are dropped before any arithmetic: NaN
    and out-of-range labels (-100) may stand there. `real_vocab` leaves out the padding rows that an embedding may have
    past the true vocabulary. Blocks hold at most chunk_tokens x chunk_vocab logits; the defaults keep a block in cache,
    do not cut small vocabularies, and keep all blocks for the backward pass where they are few. Under autocast the
    arithmetic stays in float32; products: torch.bfloat16 multiplies the gradients in that type (values stay as they
    are); logits: torch.bfloat16 makes the logits so: hidden states, weight and each product are rounded to it (sums
    over the vocabulary stay wide). First derivatives only.

    Raises GuerdonError for unknown wants, missing labels or second, labels outside the vocabulary, mismatched shapes,
    and a temperature that is not positive.
    """
    weight, bias, second = checked_heads(
        hidden, weight, bias, labels, mask, want, second, temperature, real_vocab, softcap
    )
    shape, width = hidden.shape[:-1], hidden.shape[-1]
    vocab, names = weight.shape[0], tuple(dict.fromkeys(want))
    on_cpu = hidden.device.type == "cpu"
    own = chunk_tokens is None and chunk_vocab is None
    if chunk_vocab is None:
        usual = _CHUNK_VOCAB if on_cpu else 4 * _CHUNK_VOCAB
        chunk_vocab = vocab if vocab <= 2 * usual else usual
    if chunk_tokens is None:
        chunk_tokens = max(1, (_CPU_BLOCK if on_cpu else _DEVICE_BLOCK) // chunk_vocab)
    if chunk_tokens < 1 or chunk_vocab < 1:
        raise GuerdonError(f"chunks hold at least one token and one word, got {chunk_tokens} x {chunk_vocab}")
    rows = hidden.reshape(-1, width)
    flat_labels = labels.reshape(-1) if labels is not None and "logp" in names else None
    rows2 = second[0].reshape(-1, second[0].shape[-1]) if second is not None and "kl" in names else None
    kept = None
    if mask is not None:
        kept = mask.reshape(-1).nonzero().squeeze(1)
        rows = rows[kept]
        flat_labels = None if flat_labels is None else flat_labels[kept]
        rows2 = None if rows2 is None else rows2[kept]
    if flat_labels is not None:
        check_labels(flat_labels, vocab)
    head2 = None
    if rows2 is not None and second is not None:
        head2 = (rows2.detach(), second[1].detach(), None if second[2] is None else second[2].detach())
    few = own and softcap is None and len(rows) * vocab <= (_CPU_KEPT if on_cpu else _DEVICE_BLOCK)
    # By the same way whatever else is wanted, so that logp is the same to the bit.
    apart = tuple(name for name in names if few and name == "logp")
    rest = tuple(name for name in names if name not in apart)

    def plan(want: tuple[Want, ...]) -> Plan:
        return Plan(want, float(temperature), softcap, logit_scale, chunk_tokens, chunk_vocab, products, logits)

    found: dict[str, Tensor] = {}
    if apart:
        (found["logp"],) = KeptLogprobs.apply(rows, weight, bias, flat_labels, plan(apart), torch.is_grad_enabled())
    if rest:
        found |= zip(rest, _TokenLogprobs.apply(rows, weight, bias, flat_labels, head2, plan(rest)), strict=True)
    outputs = tuple(found[name] for name in names)
    if kept is not None:
        outputs = tuple(o.new_zeros(math.prod(shape)).index_put((kept,), o) for o in outputs)
    return {name: out.reshape(shape) for name, out in zip(names, outputs, strict=True)}
