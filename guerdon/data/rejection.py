"""Statistical rejection sampling: from many scored candidates to those that the optimal policy would have written."""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import torch

from guerdon.batch import Preference, Seed
from guerdon.data.provenance import noted, only_pair
from guerdon.errors import DataError, GuerdonError

Judge = Callable[[int, int], float]
"""P(first ≻ second) of two candidates, by number; ½ is a tie, of which no pair is made."""
Pair = tuple[int, int]
"""(winner, loser), numbers of candidates."""
PAIRINGS = ("first-round", "tournament")


def rejection_sample(rewards: Sequence[float], count: int, beta: float, seed: Seed) -> list[int]:
    """Numbers of ``count`` candidates, distributed as if drawn from π(y) ∝ π_sft(y)·e^{r(y)/β} (Liu et al. 2023,
    2309.06657, algorithm 1), in the order of acceptance.

    In every round each candidate that is left is accepted with probability exp((r − r_max)/β), r_max the best that is
    left when the round begins, until ``count`` are found; nothing is taken twice, and candidates are told apart by
    number, so equal texts do no harm. β = inf accepts all (the first ``count``), β = 0 the best ones. With finitely
    many candidates r_max is an estimate, and the law is that of the paper's algorithm, not exactly the optimum's.
    Rewards are logits on the scale of β; a shift changes nothing. Raises GuerdonError unless 0 < count ≤ candidates,
    β ≥ 0 and every reward is finite.
    """
    if not 0 < count <= len(rewards) or not beta >= 0 or not all(map(math.isfinite, rewards)):
        raise GuerdonError(
            f"rejection_sample keeps 1 to {len(rewards)} candidates of finite reward at beta ≥ 0, but count={count} "
            f"and beta={beta} came (or a reward is not finite)."
        )
    draws = seed.child("rejection").torch()
    left, kept = list(range(len(rewards))), []
    while True:
        chance = torch.rand(len(left), generator=draws, dtype=torch.float64).tolist()
        top = max(rewards[i] for i in left)
        refused = []
        for i, u in zip(left, chance, strict=True):
            gap = rewards[i] - top
            if gap == 0 or (beta > 0 and u < math.exp(gap / beta)):
                kept.append(i)
                if len(kept) == count:
                    return kept
            else:
                refused.append(i)
        left = refused


def first_round_pairs(candidates: Sequence[int], judge: Judge, seed: Seed) -> list[Pair]:
    """Candidates paired at random, each at most once: n/2 games, labelled by the judge (the paper's best)."""
    return [pair for pair, _ in _games(_shuffled(candidates, seed), judge) if pair is not None]


def tournament_pairs(candidates: Sequence[int], judge: Judge, seed: Seed) -> list[Pair]:
    """A knock-out tournament: winners meet again until one is left, n − 1 games. Of a tie the first goes on and no pair
    is made; the odd one out waits for the next round."""
    found: list[Pair] = []
    playing = _shuffled(candidates, seed)
    while len(playing) > 1:
        games = _games(playing, judge)
        found += [pair for pair, _ in games if pair is not None]
        playing = [on for _, on in games] + ([playing[-1]] if len(playing) % 2 else [])
    return found


def rejected(
    records: Sequence[Preference],
    keep: int = 8,
    temperature: float = 0.5,
    pairing: str = "first-round",
    sampling_seed: int = 0,
) -> list[Preference]:
    """RSO's training pairs from records whose responses are candidates of the start policy with scores: ``keep`` of
    each record by ``rejection_sample``, then one record for every pair of ``pairing``, labelled by the scores.

    temperature: β of the sampling (0.5 in the paper), in units of the scores, which should be logits of being better
    than an average response; the loss has a β of its own. Records with fewer responses keep all of them. Draws depend
    on the seed and the record's place alone. Provenance: transform 'rejected' with temperature, keep, pairing and the
    two candidates' numbers. Raises DataError where a record has no score, or nothing is left to compare.
    """
    if pairing not in PAIRINGS:
        raise DataError(f"rejected(pairing=…) must be one of {', '.join(PAIRINGS)}, but {pairing!r} came.")
    paired = first_round_pairs if pairing == "first-round" else tournament_pairs
    made = []
    for number, record in enumerate(records):
        scores = [s for s in record.scores or () if s is not None and math.isfinite(s)]
        if len(scores) != len(record.responses):
            raise DataError(f"{record.source or 'a record'}: RSO needs a score for every response; score them first.")
        if len(scores) < 2:
            continue
        key = Seed(sampling_seed).child("rejected", number)
        kept = rejection_sample(scores, min(keep, len(scores)), temperature, key)
        about = {"temperature": temperature, "keep": keep, "pairing": pairing}
        for winner, loser in paired(kept, by_reward(scores), key):
            made.append(noted(only_pair(record, winner, loser), "rejected", **about, candidates=[winner, loser]))
    if not made:
        raise DataError("No pair is left: every record holds fewer than two responses of different score.")
    return made


def by_reward(rewards: Sequence[float]) -> Judge:
    """A judge that prefers the higher reward."""
    return lambda i, j: 0.5 if rewards[i] == rewards[j] else float(rewards[i] > rewards[j])


def _shuffled(candidates: Sequence[int], seed: Seed) -> list[int]:
    order = torch.randperm(len(candidates), generator=seed.child("pairing").torch())
    return [candidates[i] for i in order.tolist()]


def _games(playing: Sequence[int], judge: Judge) -> list[tuple[Pair | None, int]]:
    """(the pair, None for a tie; who goes on) of neighbours, two by two."""
    games: list[tuple[Pair | None, int]] = []
    for first, second in list(pairwise(playing))[::2]:
        p = judge(first, second)
        if p == 0.5:
            games.append((None, first))
        else:
            winner, loser = (first, second) if p > 0.5 else (second, first)
            games.append(((winner, loser), winner))
    return games
