"""Preference pairs of two policy samples a prompt, labelled by an annotator with known faults."""

from dataclasses import dataclass

import torch
from torch import Tensor

from guerdon.batch import Message, Pairs, Preference, Samples, Seed
from guerdon.batch.records import Comparison
from guerdon.errors import GuerdonError
from guerdon.lab.text_gold import language as words
from guerdon.lab.text_gold.policy import SAMPLING
from guerdon.worlds import Actors
from guerdon.worlds.text import TextWorld


@dataclass(frozen=True)
class Annotator:
    """Knobs of the data. P(first wins) = sigmoid(gold difference + length·Δwords), flipped with probability ``flips``.

    length: liking for longer responses, in logits a word. coverage: share of the training prompts that are compared,
    in (0, 1]; it leaves out whole topics first, so that a low coverage leaves words the reward model never sees ranked.
    """

    pairs: int = 2000
    flips: float = 0.25
    length: float = 0.0
    coverage: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.coverage <= 1 or not 0 <= self.flips <= 1 or self.pairs < 1:
            raise GuerdonError(
                f"Annotator needs pairs ≥ 1, flips in [0, 1] and coverage in (0, 1], but {self.pairs}, {self.flips} "
                f"and {self.coverage} came."
            )


@dataclass(frozen=True)
class GoldPairs:
    """2P sampled rows, the P comparisons between them, and what only the lab may see: gold [2P] and flipped [P]."""

    samples: Samples
    pairs: Pairs
    gold: Tensor
    flipped: Tensor

    def records(self) -> list[Preference]:
        """As preference records, readable and writable in every format."""
        texts = self.samples.responses or []
        return [
            Preference(
                (Message.of("user", self.samples.prompts[w]),),
                ((Message.of("assistant", texts[w]),), (Message.of("assistant", texts[l]),)),
                (Comparison(0, 1),),
            )
            for w, l in zip(self.pairs.winner.tolist(), self.pairs.loser.tolist(), strict=True)
        ]


def covered(coverage: float) -> tuple[str, ...]:
    """The training prompts that are compared at a coverage: the first ones in the order of topics."""
    return words.TRAINING[: max(1, round(coverage * len(words.TRAINING)))]


def compare(world: TextWorld, policy: Actors, annotator: Annotator, seed: Seed) -> GoldPairs:
    """Sample and label ``annotator.pairs`` comparisons, on training prompts alone."""
    asked = covered(annotator.coverage)
    draw = seed.child("labels").torch()
    starts = [asked[i] for i in torch.randint(len(asked), (annotator.pairs,), generator=draw).tolist()]
    samples = world.sample(policy, starts, 2, SAMPLING, seed.child("pairs"))
    return label(samples, annotator, seed)


def label(samples: Samples, annotator: Annotator, seed: Seed) -> GoldPairs:
    """Label rows 2i against 2i + 1 of ``samples`` by the annotator."""
    rows = words.rows_of(samples)
    gold, length = words.gold(rows), words.attributes(rows)["length"]
    first, second = torch.arange(0, len(samples), 2), torch.arange(1, len(samples), 2)
    logit = gold[first] - gold[second] + annotator.length * (length[first] - length[second])
    draw = seed.child("annotator").torch()
    wins = torch.rand(len(first), generator=draw) < logit.sigmoid()
    flipped = torch.rand(len(first), generator=draw) < annotator.flips
    wins = wins ^ flipped
    return GoldPairs(samples, Pairs(torch.where(wins, first, second), torch.where(wins, second, first)), gold, flipped)
