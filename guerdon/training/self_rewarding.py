"""Self-rewarding (CREAM): a policy labels its own samples, as sure of a label as its last two versions agree on it."""

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from guerdon import reduce
from guerdon.batch import Batch, Pairs, Steps
from guerdon.errors import GuerdonError
from guerdon.training.builds import extremes
from guerdon.training.companions import Companion
from guerdon.training.prompt_lists import lists_of
from guerdon.training.recipe import Build, Estimator, Rollout, Round
from guerdon.worlds.snapshots import only

ROUND, PREVIOUS, START = "round", "previous", "reference"
"""Snapshots: the policy at the start of this self-rewarding round, of the one before, and before the first."""

Agreement = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(first, second, mask) [G,K] -> [G] in [−1, 1], as ``reduce.kendall_tau``."""
MEASURES: Mapping[str, Agreement] = {
    "kendall": reduce.kendall_tau,
    "spearman": reduce.spearman,
    "top_order": reduce.same_ends,
}


def consistency(first: Tensor, second: Tensor, mask: Tensor, measure: str = "kendall") -> Tensor:
    """C = (agreement + 1)/2 [G] in [0, 1] of two scorers' rankings of each list [G,K]: 1 where they rank alike, 0 where
    one is the reverse of the other (Wang et al. 2024, 2410.12735).

    measure: 'kendall', 'spearman', or 'top_order': 1 where both have one best and one worst item, else 0 (the released
    code compares the ranks of the first and the last response instead). Ties are ranked by place, so two constant
    scorers agree. Items that either scorer gives no finite score are left out. Raises GuerdonError for another measure.
    """
    if measure not in MEASURES:
        raise GuerdonError(f"The measure must be one of {', '.join(MEASURES)}, but {measure!r} came.")
    finite = mask & torch.isfinite(first) & torch.isfinite(second)
    return (MEASURES[measure](first, second, finite) + 1) / 2


def consistencies(
    first: Mapping[Hashable, Sequence[float | None]],
    second: Mapping[Hashable, Sequence[float | None]],
    measure: str = "kendall",
) -> dict[Hashable, float]:
    """``consistency`` of every id that both score in full, by id and in the order of ``first``: an id that is missing,
    of another length, or with a score of None on either side is not there, and moves no other's value."""
    found: dict[Hashable, float] = {}
    for key, scores in first.items():
        other = second.get(key)
        if other is None or len(other) != len(scores) or None in scores or None in other:
            continue
        a, b = (torch.tensor([x], dtype=torch.float64) for x in (scores, other))
        found[key] = float(consistency(a, b, torch.ones(1, len(scores), dtype=torch.bool), measure))
    return found


def implicit_reward(steps: Steps, of: str, to: str = START, per: str = "total") -> Tensor:
    """log π_of(y) − log π_to(y) [N] summed over the row's steps, without gradient: DPO's reward over β.

    per 'average' divides by the number of steps, because sums favour long responses. Where ``of`` still is ``to`` (all
    ratios 0), the mean log-prob of a step under ``of`` ranks instead, as the paper does before its first round.
    """
    if per not in ("total", "average"):
        raise GuerdonError(f"implicit_reward(per=…) must be 'total' or 'average', but {per!r} came.")
    ratio = reduce.masked(steps.log_ratio(of, to).detach(), steps.mask)
    if not bool(ratio.any()):
        return reduce.average(steps.logprob(of).detach(), steps.mask)
    return (reduce.total if per == "total" else reduce.average)(ratio, steps.mask)


def unlabelled() -> Estimator:
    """The rollout as a batch, with the log-probs that self-labelling reads."""
    needs = tuple(f"steps.logp.{name}" for name in (ROUND, PREVIOUS, START))
    return Estimator("unlabelled", lambda rollout: rollout.batch(), needs=needs)


def self_labelled(measure: str | None = "kendall", average: bool = True, per: str = "total") -> Build:
    """Of every prompt the best against the worst row by the policy's own implicit reward, with P(best ≻ worst) = C, the
    agreement of this ranking with that of the round before (CREAM).

    measure: see ``consistency``; None is always C = 1, plain self-rewarding. average: the mean C of all prompts stands
    for each ('avg', the paper's default), instead of its own ('dyn'). per: see ``implicit_reward``. A prompt whose rows
    all have one reward gives no pair.
    """

    def call(batch: Batch, rollout: Rollout) -> Iterator[Batch]:
        steps = batch.read("steps")
        now, before = (implicit_reward(steps, name, per=per).cpu() for name in (ROUND, PREVIOUS))
        ids, ok = rollout.samples.partition("prompt").ids.cpu(), steps.mask.any(-1).cpu()
        lists = lists_of(ids, now, ok & torch.isfinite(now) & torch.isfinite(before))
        sure = torch.ones(len(lists))
        if measure is not None:
            sure = consistency(lists.values(), before[lists.rows.clamp(min=0)], lists.mask, measure)
        best, worst = extremes(now, ids, ok & torch.isfinite(now) & torch.isfinite(before))
        kept = now[best] > now[worst]
        if not bool(kept.any()):
            return
        sure = sure[kept].mean().expand(int(kept.sum())) if average else sure[kept]
        pairs = Pairs(best[kept].to(batch.device), worst[kept].to(batch.device), sure.float().to(batch.device))
        yield replace(batch, pairs=pairs, block=None).take(torch.cat([pairs.winner, pairs.loser]).sort().values)

    return Build(f"self_labelled({measure}, {'average' if average else 'each'})", call, gives=("pairs",))


class SelfRewardingRounds(Companion):
    """Begins a new self-rewarding round at equal distances, ``iterations`` of them in the run: 'previous' becomes what
    'round' was, and 'round' the policy as it is.

    Both snapshots are ``Frozen`` and start as the policy. A run of fewer rounds begins a new one every time.
    """

    name = "self_rewarding"

    def __init__(self, iterations: int = 3) -> None:
        if iterations < 1:
            raise GuerdonError(f"SelfRewardingRounds needs at least 1 iteration, but {iterations} came.")
        self.iterations = iterations

    def before_round(self, round: Round) -> None:
        """Shift the snapshots where a new round begins; which one that is follows from the loop's round alone."""
        length = max(1, -(-round.recipe.rounds // self.iterations))
        if round.round and round.round % length == 0:
            snapshots = only(round.snapshots)
            snapshots.put(PREVIOUS, snapshots.parameters(ROUND))
            snapshots.capture(ROUND)
