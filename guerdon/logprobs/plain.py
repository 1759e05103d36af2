"""The readable way: all logits at once, log_softmax, plain autograd."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from guerdon.divergences import reverse_kl
from guerdon.logprobs.checks import Head, Want, check_labels, check_want, checked_heads


def token_logprobs_reference(
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
) -> dict[str, Tensor]:
    """The readable twin of `token_logprobs`: forms all logits, then log_softmax.

    Same arguments, same results, memory of tokens x vocabulary.
    """
    weight, bias, second = checked_heads(
        hidden, weight, bias, labels, mask, want, second, temperature, real_vocab, softcap
    )

    def logits(h: Tensor, w: Tensor, b: Tensor | None) -> Tensor:
        h = h if mask is None else torch.where(mask[..., None], h, 0.0)
        a = logit_scale * torch.nn.functional.linear(_wide(h), _wide(w), None if b is None else _wide(b))
        return a if softcap is None else softcap * torch.tanh(a / softcap)

    other = None if second is None else logits(*second).detach()
    return from_logits(
        logits(hidden, weight, bias), labels, mask=mask, want=want, second=other, temperature=temperature
    )


def _wide(x: Tensor) -> Tensor:
    return x if x.dtype == torch.float64 else x.float()


def from_logits(
    logits: Tensor,
    labels: Tensor | None,
    *,
    mask: Tensor | None = None,
    want: Sequence[Want] = ("logp",),
    second: Tensor | None = None,
    temperature: float = 1.0,
) -> dict[str, Tensor]:
    """The outputs of `token_logprobs` from logits that already exist: [..., V] -> name -> [...].

    Both `logits` and `second` (detached) are those before the temperature. Same names, mask and errors. A logit of
    -inf is a word of probability 0 and gives no NaN in value or gradient. When only 'logp' is wanted no log_softmax is
    formed (a gather minus a logsumexp).
    """
    check_want(want, labels, second, temperature)
    z = _wide(logits)
    if mask is not None:
        z = torch.where(mask[..., None], z, 0.0)
        labels = None if labels is None else torch.where(mask, labels, 0)
    if temperature != 1.0:
        z = z / temperature
    if labels is not None and "logp" in want:
        check_labels(labels, z.shape[-1])
    if tuple(want) == ("logp",) and labels is not None:
        out = {"logp": z.gather(-1, labels[..., None]).squeeze(-1) - z.logsumexp(-1)}
    else:
        out = _from_log_softmax(z.log_softmax(-1), labels, want, second, temperature)
    if mask is not None:
        out = {name: torch.where(mask, value, 0.0) for name, value in out.items()}
    return out


def _from_log_softmax(
    logp: Tensor, labels: Tensor | None, want: Sequence[Want], second: Tensor | None, temperature: float
) -> dict[str, Tensor]:
    def entropy() -> Tensor:
        possible = logp > -math.inf
        return -torch.where(possible, logp.exp() * torch.where(possible, logp, 0.0), 0.0).sum(-1)

    def kl() -> Tensor:
        assert second is not None
        return reverse_kl(logp, (_wide(second).detach() / temperature).log_softmax(-1))

    def label() -> Tensor:
        assert labels is not None
        return logp.gather(-1, labels[..., None]).squeeze(-1)

    ways: dict[Want, Callable[[], Tensor]] = {
        "logp": label,
        "entropy": entropy,
        "collision": lambda: (2 * logp).logsumexp(-1),
        "kl": kl,
    }
    return {name: ways[name]() for name in want}
