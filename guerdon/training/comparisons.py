"""Comparisons as texts and as token rows: their Bradley–Terry loss, and its gradient in parts of little memory.

The likelihood is ``guerdon.preferences.bradley_terry``; every loss is a weighted sum over one stated denominator.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from guerdon.batch import Preference
from guerdon.errors import DataError
from guerdon.preferences import bradley_terry
from guerdon.rewards.models import ScalarRewardModel
from guerdon.rewards.models.packed import passes
from guerdon.worlds.text import Encoded, pad_rows

Rows = tuple[Encoded, Encoded]
"""Winner and loser of a pair."""
Reader = Callable[[Sequence[Rows]], Iterator[tuple[list[int], Tensor]]]
"""A batch of pairs to its parts: numbers of P pairs, and scores [2P,K], winners first."""


@dataclass(frozen=True)
class TextPairs:
    """P comparisons as texts: prompt, winner and loser a pair; preferred = P(winner ≻ loser), weight, margin [P];
    source for messages."""

    prompts: Sequence[Any]
    winners: Sequence[str]
    losers: Sequence[str]
    preferred: Tensor
    weight: Tensor
    margin: Tensor
    sources: Sequence[str]

    def __len__(self) -> int:
        return len(self.prompts)

    @staticmethod
    def of(records: Sequence[Preference]) -> "TextPairs":
        """Every comparison of every record, the likelier side first. Raises DataError where there is none."""
        rows = [
            (r, c, (c.first, c.second) if c.p >= 0.5 else (c.second, c.first), f"{r.source or f'record {i}'}")
            for i, r in enumerate(records)
            for c in r.comparisons
        ]
        if not rows:
            raise DataError("Comparisons were expected, but the records hold none; give chosen and rejected responses.")
        return TextPairs(
            [r.prompt for r, _, _, _ in rows],
            [r.response_text(w) for r, _, (w, _), _ in rows],
            [r.response_text(l) for r, _, (_, l), _ in rows],
            torch.tensor([max(c.p, 1 - c.p) for _, c, _, _ in rows]),
            torch.tensor([float(c.weight) for _, c, _, _ in rows]),
            torch.tensor([float(c.margin or 0.0) for _, c, _, _ in rows]),
            [s for _, _, _, s in rows],
        )


def pair_loss(
    z_w: Tensor,
    z_l: Tensor,
    pairs_weight: Tensor,
    preferred: Tensor,
    margin: Tensor,
    smoothing: float,
    total: Tensor | None = None,
) -> Tensor:
    """Σ weight · Bradley–Terry / Σ weight for K members at once; z [P,K], weight [P,K], preferred and margin [P].
    total: the denominators [K] of a batch that these pairs are a part of, so that its parts add up to its loss."""
    k = z_w.shape[1]
    loss = bradley_terry(
        z_w.flatten(),
        z_l.flatten(),
        preferred=preferred.repeat_interleave(k),
        margin=margin.repeat_interleave(k),
        smoothing=smoothing,
    )
    # Members are independent fits: each has its own denominator, and their losses add.
    total = pairs_weight.sum(0) if total is None else total
    return ((loss.view(-1, k) * pairs_weight).sum(0) / total.clamp(min=1e-12)).sum()


def encoded(model: ScalarRewardModel, pairs: TextPairs) -> list[Rows]:
    """Winner and loser of every pair as token ids, by one call of the tokenizer."""
    known = model.tokenizer_for([*pairs.prompts, *pairs.prompts], [*pairs.winners, *pairs.losers])
    each = zip(pairs.prompts, pairs.winners, pairs.losers, pairs.sources, strict=True)
    return [(model.encode(p, w, source, known), model.encode(p, l, source, known)) for p, w, l, source in each]


def reader(model: ScalarRewardModel, tokens: int) -> Reader:
    """How a batch of pairs is scored: in packs of some pairs each, or whole where that could change more than
    rounding."""
    if model.packs() and not any(isinstance(m, nn.Dropout) and m.p > 0 for m in model.modules()):

        def packed(batch: Sequence[Rows]) -> Iterator[tuple[list[int], Tensor]]:
            for part in passes(batch, tokens):
                both = [batch[i][side] for side in (0, 1) for i in part]
                # One pass, even where a single pair is longer than the budget: all its rows stand in one graph.
                yield part, model.packed_scores(both, sum(map(len, both)))

        return packed

    def padded(batch: Sequence[Rows]) -> Iterator[tuple[list[int], Tensor]]:
        yield list(range(len(batch))), model(pad_rows([r[side] for side in (0, 1) for r in batch], model.tokenizer))

    return padded


def accumulate(
    read: Reader,
    rows: Sequence[Rows],
    pairs: TextPairs,
    weight: Tensor,
    batch: Sequence[int],
    smoothing: float,
    centre: float,
) -> dict[str, float]:
    """Add the gradient of a batch's loss, part after part over the batch's own denominators; the whole loss, its
    Bradley–Terry part a member, and the accuracy."""
    whole, loss, right = 0.0, 0.0, 0.0
    total = weight[list(batch)].sum(0)
    for part, z in read([rows[i] for i in batch]):
        z_w, z_l = z[: len(part)], z[len(part) :]
        at = [batch[i] for i in part]
        w, sums = weight[at].to(z.device), total.to(z.device)
        preferred, margin = pairs.preferred[at].to(z.device), pairs.margin[at].to(z.device)
        fit = pair_loss(z_w, z_l, w, preferred, margin, smoothing, sums)
        sizes = (w * (z_w + z_l).square()).sum() / sums.sum().clamp(min=1e-12)
        objective = fit + centre * sizes
        objective.backward()
        whole += objective.item()
        loss += fit.item()
        right += float(((z_w > z_l).float() + 0.5 * (z_w == z_l).float()).sum())
    members = weight.shape[1]
    return {"whole": whole, "loss": loss / members, "accuracy": right / (len(batch) * members)}
