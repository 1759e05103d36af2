"""Rows without a usable reward: which they are, and the rollout without them."""

from dataclasses import replace

import torch
from torch import Tensor

from guerdon.batch import Pairs, Scores
from guerdon.training.recipe import Rollout


def unusable(scores: Scores, n: int) -> tuple[Tensor, Tensor]:
    """(failed [N]: FAILED in any channel; absent [N]: not failed, but no channel is valid). Without channels, none
    is."""
    failed, some = torch.zeros(n, dtype=torch.bool), torch.zeros(n, dtype=torch.bool)
    for channel in scores.channels.values():
        failed |= channel.failed.reshape(n, -1).any(-1).cpu()
        some |= channel.ok.reshape(n, -1).any(-1).cpu()
    return failed, ~failed & ~some if len(scores) else torch.zeros_like(failed)


def without(rollout: Rollout, keep: Tensor) -> Rollout:
    """The rollout's rows where ``keep`` [N]; pairs and lists that lose a row go, named sets lose the row."""
    at = keep.nonzero()[:, 0]
    renumber = torch.full((len(keep),), -1, dtype=torch.int64)
    renumber[at] = torch.arange(len(at))
    pairs = rollout.pairs
    if pairs is not None:
        both = keep[pairs.winner] & keep[pairs.loser]
        winner, loser, *rest = (
            None if x is None else x[both]
            for x in (pairs.winner, pairs.loser, pairs.preferred, pairs.margin, pairs.weight)
        )
        assert winner is not None and loser is not None
        pairs = Pairs(winner, loser, *rest).take(renumber)
    lists = rollout.lists
    if lists is not None:
        lists = lists.at((keep[lists.rows.clamp(min=0)] | ~lists.mask).all(-1)).take(renumber)
    rows = {name: renumber[x][renumber[x] >= 0] for name, x in rollout.rows.items()}
    samples, scores = rollout.samples.take(at), rollout.scores.take(at)
    return replace(rollout, samples=samples, scores=scores, pairs=pairs, lists=lists, rows=rows)
