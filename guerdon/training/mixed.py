"""Mixed preference optimisation: DPO on easy pairs, then reinforcement on the prompts of hard ones, from there on."""

import math
import zlib
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from guerdon.batch import Preference
from guerdon.data.degrees import WORD
from guerdon.data.reward_gaps import Gap, by_gap, cross_fitted
from guerdon.errors import DataError, GuerdonError
from guerdon.rewards.interface import Reward
from guerdon.rewards.models import LinearHead
from guerdon.training.companions import Companion
from guerdon.training.presets import offline, online
from guerdon.training.recipe import Recipe, Round
from guerdon.training.reward_models import fit_head
from guerdon.training.sources import Prompts, Source
from guerdon.worlds.interface import World
from guerdon.worlds.snapshots import Snapshots

WIDTH = 1024
"""Places that words are hashed to."""


class Recaptured(Companion):
    """Makes a snapshot the live policy before the first round: stage two measures its KL from where stage one ended."""

    def __init__(self, name: str = "reference") -> None:
        self.name, self.snapshot = f"recaptured:{name}", name

    def before_round(self, round: Round) -> None:
        """Capture at round 0; a resumed run keeps what its checkpoint holds."""
        if round.round == 0:
            assert isinstance(round.snapshots, Snapshots)
            round.snapshots.capture(self.snapshot)


def mixed_po(
    world: World,
    snapshots: Snapshots,
    easy: Source | None,
    hard: Prompts | None,
    reward: Reward | None,
    *,
    second: str = "rloo",
    rounds: int = 100,
    epochs: float = 1.0,
    first: dict[str, Any] | None = None,
    then: dict[str, Any] | None = None,
) -> tuple[Recipe, ...]:
    """Both stages as recipes, to be run in order (Gou & Nguyen 2024, 2403.19443): DPO on the easy pairs, then an online
    method on the prompts of the hard ones whose start *and* KL reference are the first stage's policy.

    easy, hard: what ``data.by_gap`` parts; None leaves that stage out (γ = −∞ is plain DPO, γ = +∞ the online method
    from the start policy). second: any online method of ``training.methods``; the paper's PPO is ``second='grpo'``'s
    clipped surrogate with a value net, which a recipe of its own may add. Each stage has its own optimiser. The KL of
    stage two is 0 at its start, so drift from the *start* policy is not bounded by it: report both. first, then:
    further settings of either stage (``offline``, ``online``). Raises GuerdonError where both stages are left out.
    """
    stages = []
    if easy is not None:
        stages.append(offline("dpo", world, snapshots, easy, epochs=epochs, **(first or {})))
    if hard is not None:
        more = dict(then or {})
        moved = (Recaptured("reference"), *more.pop("companions", ()))
        stages.append(online(second, world, snapshots, hard, reward, rounds=rounds, companions=moved, **more))
    if not stages:
        raise GuerdonError("mixed_po needs easy pairs or hard prompts, but both are left out.")
    return tuple(stages)


def easy_pairs(
    records: Sequence[Preference], folds: int = 2, threshold: float | None = None, split_seed: int = 0
) -> list[Preference]:
    """The easy side of ``data.by_gap``, with gaps cross-fitted by ``word_gap`` (None: above their median). Raises
    DataError where no pair is easy."""
    pairs = [r for r in records if r.comparisons]
    easy, _ = by_gap(pairs, cross_fitted(pairs, word_gap, folds, split_seed), threshold)
    if not easy:
        raise DataError("No pair has a gap above the threshold, so nothing is easy; lower the threshold.")
    return easy


def word_gap(records: Sequence[Preference]) -> Gap:
    """A Bradley–Terry reward that is linear in hashed words and length, fitted on the records' comparisons: a small
    reward model that needs no files. Gives its difference between the sides of a record's first comparison."""
    pairs = [(r, w, l, p, weight) for r in records for w, l, p, weight in r.pairs()]
    if not pairs:
        raise DataError("A reward is fitted on comparisons, but the records hold none.")
    head = LinearHead(WIDTH + 1)
    winner = torch.stack([_words(r.response_text(w)) for r, w, _, _, _ in pairs])
    loser = torch.stack([_words(r.response_text(l)) for r, _, l, _, _ in pairs])
    preferred, weight = (torch.tensor([x[k] for x in pairs]) for k in (3, 4))
    fit_head(head, winner, loser, preferred=preferred, weight=weight, weight_decay=0.01)

    @torch.no_grad()
    def gap(record: Preference) -> float:
        w, l, _, _ = record.pairs()[0]
        return float(head((_words(record.response_text(w)) - _words(record.response_text(l)))[None]))

    return gap


def _words(text: str) -> Tensor:
    """log(1 + count) of hashed words, and the logarithm of the length."""
    words = [m.group().casefold() for m in WORD.finditer(text)]
    at = torch.tensor([zlib.crc32(w.encode()) % WIDTH for w in words], dtype=torch.int64)
    count = torch.bincount(at, minlength=WIDTH).float().log1p()
    return torch.cat([count, torch.tensor([math.log1p(len(words))])])
