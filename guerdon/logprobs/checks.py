"""What both ways of computing token statistics ask of their arguments."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from guerdon.errors import GuerdonError

Want = Literal["logp", "entropy", "collision", "kl"]
WANTS: tuple[Want, ...] = ("logp", "entropy", "collision", "kl")
Head = tuple[Tensor, Tensor, Tensor | None]


def check_labels(labels: Tensor, vocab: int) -> None:
    """Raise GuerdonError unless every label lies in the vocabulary."""
    if labels.numel() and (int(labels.min()) < 0 or int(labels.max()) >= vocab):
        bad = labels[(labels < 0) | (labels >= vocab)][0].item()
        raise GuerdonError(
            f"labels must lie in 0..{vocab - 1} where the mask is True, got {bad}; mask the tokens to be ignored"
        )


def check_want(want: Sequence[Want], labels: Tensor | None, second: object, temperature: float) -> None:
    """Raise GuerdonError unless the wanted outputs are known and have what they need."""
    if not want or set(want) - set(WANTS):
        raise GuerdonError(f"`want` names some of {', '.join(WANTS)}, got {list(want)}")
    if "logp" in want and (labels is None or labels.dtype != torch.int64):
        raise GuerdonError(f"'logp' needs labels as int64, got {None if labels is None else labels.dtype}")
    if "kl" in want and second is None:
        raise GuerdonError("'kl' needs the second distribution, got None; pass `second`")
    if not (temperature > 0 and math.isfinite(temperature)):
        raise GuerdonError(
            f"temperature must be positive, got {temperature}; greedy samples are scored at the training temperature"
        )


def checked_heads(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    labels: Tensor | None,
    mask: Tensor | None,
    want: Sequence[Want],
    second: Head | None,
    temperature: float,
    real_vocab: int | None,
    softcap: float | None,
) -> tuple[Tensor, Tensor | None, Head | None]:
    """Check the arguments and cut padding words off both heads."""
    check_want(want, labels, second, temperature)
    if softcap is not None and not softcap > 0:
        raise GuerdonError(f"softcap must be positive or None, got {softcap}")
    if weight.dim() != 2 or weight.shape[1] != hidden.shape[-1]:
        raise GuerdonError(f"weight must be [V, {hidden.shape[-1]}] for these hidden states, got {list(weight.shape)}")
    for name, x in (("labels", labels), ("mask", mask), ("second[0]", None if second is None else second[0][..., 0])):
        if x is not None and x.shape != hidden.shape[:-1]:
            raise GuerdonError(f"{name} must have one entry per token {list(hidden.shape[:-1])}, got {list(x.shape)}")
    if real_vocab is not None and not 0 < real_vocab <= weight.shape[0]:
        raise GuerdonError(f"real_vocab must lie in 1..{weight.shape[0]}, the rows of the head, got {real_vocab}")
    weight, bias = _cut(weight, real_vocab), None if bias is None else _cut(bias, real_vocab)
    if second is not None:
        bias2 = None if second[2] is None else _cut(second[2], real_vocab)
        second = (second[0], _cut(second[1], real_vocab), bias2)
        if second[1].shape[0] != weight.shape[0]:
            raise GuerdonError(
                f"both heads must share one vocabulary, got {weight.shape[0]} and {second[1].shape[0]} words; "
                "set real_vocab to the tokenizer's size"
            )
    return weight, bias, second


def _cut(x: Tensor, rows: int | None) -> Tensor:
    """The first rows. A whole head is no slice of itself: the gradient of a slice is written into zeros of its size."""
    return x if rows is None or rows == len(x) else x[:rows]
