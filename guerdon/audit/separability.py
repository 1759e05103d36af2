"""Can chosen be told from rejected without the prompt: a high value warns of a short cut, such as who wrote which."""

from dataclasses import dataclass

import torch
from torch import Tensor

from guerdon.audit.features import Embed, Rows, Stacked, length_rows, text_rows
from guerdon.audit.intervals import Interval, bootstrap_groups, wilson
from guerdon.audit.linear import auc, held_out_logits, prompt_folds
from guerdon.audit.markers import Marker, equal_lengths, markers
from guerdon.audit.pairs import DecidedPairs
from guerdon.errors import GuerdonError

FEWEST_PAIRS = 40


@dataclass(frozen=True)
class Separability:
    """Held-out separation of single responses. auc: that a chosen response scores above a rejected one, drawn from any
    two pairs; length: the same for length alone; cut: the same by words alone once both responses of a pair are cut to
    one length. accuracy: of the two responses of one pair, the chosen one scores higher (ties ½). markers: words that
    give a side away."""

    auc: Interval
    accuracy: Interval
    length: Interval
    pairs: int
    cut: Interval
    markers: tuple[Marker, ...]


def separability(
    pairs: DecidedPairs,
    embed: Embed | None = None,
    rows: Rows | None = None,
    level: float = 0.95,
    folds: int = 5,
    seed: int = 0,
) -> Separability:
    """Logistic classification of responses as chosen or rejected, from the response alone, in folds by prompt.

    Where two models wrote the two sides, style gives the side away and the value nears 1: a policy can then lower its
    loss by style and stay unsafe (Wang et al. 2025, *More is Less*, 2504.02193). ½ is no separation; a middling value
    is no defect, since better responses do differ from worse ones. The AUC's interval resamples prompts with the fits
    kept. embed, rows: features instead of hashed n-grams and length, as the last hidden state of a base model. Raises
    GuerdonError for fewer than 40 pairs or fewer prompts than folds.
    """
    prompts = int(pairs.prompt.max()) + 1 if len(pairs) else 0
    if len(pairs) < FEWEST_PAIRS or prompts < folds:
        raise GuerdonError(
            f"separability: {FEWEST_PAIRS} decided pairs of at least {folds} prompts are needed, but {len(pairs)} of "
            f"{prompts} came."
        )
    held = prompt_folds(pairs.prompt, folds, 1, seed)
    lengths = length_rows(pairs.texts)
    chosen, rejected = _scores(pairs, Stacked((text_rows(pairs.texts, embed) if rows is None else rows, lengths)), held)
    right = float((chosen > rejected).sum() + 0.5 * (chosen == rejected).sum())
    return Separability(
        _area(pairs, chosen, rejected, level, seed),
        wilson(right, len(pairs), level),
        _area(pairs, *_scores(pairs, lengths, held), level, seed),
        len(pairs),
        _area(pairs, *_scores(pairs, text_rows(equal_lengths(pairs)), held), level, seed),
        markers(pairs),
    )


def _scores(pairs: DecidedPairs, rows: Rows, held: Tensor) -> tuple[Tensor, Tensor]:
    """Held-out scores of the chosen and of the rejected responses [P] each."""
    none = torch.full_like(pairs.winner, rows.shape[0])
    first, second = torch.cat([pairs.winner, none]), torch.cat([none, pairs.loser])
    logits = held_out_logits(rows, first, second, held.repeat(2, 1))[:, 0]
    return logits[: len(pairs)], -logits[len(pairs) :]


def _area(pairs: DecidedPairs, chosen: Tensor, rejected: Tensor, level: float, seed: int) -> Interval:
    score = torch.cat([chosen, rejected])
    positive = torch.arange(len(score)) < len(chosen)
    return bootstrap_groups(
        pairs.prompt, lambda weight: auc(score, positive, weight.repeat(1, 2)), level, resamples=200, seed=seed
    )
