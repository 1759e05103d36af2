"""Self-play in the one loop: builds and an estimator from duels, and what carries momentum from iteration to iteration.

An iteration is a stretch of updates with one reference, the policy it began with (``CopyEvery``), from which its rows
are drawn too (``Preset.sampler``).
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from guerdon import advantages
from guerdon.batch import Batch, Pairs
from guerdon.errors import GuerdonError, NeedsError
from guerdon.training.builds import extremes
from guerdon.training.companions import Companion
from guerdon.training.duels import Judge, by_score, duels
from guerdon.training.estimators import kl_paths, row_reward, with_advantage
from guerdon.training.recipe import Build, Estimator, Rollout, Round
from guerdon.worlds import only

LABELS = ("hard", "judge", "win_rate")
"""What a pair says: that its winner wins, what the judge gave, or σ of the difference of both rows' win rates."""


def best_worst_duels(judge: Judge | None = None, least: float = 0.0, labels: str = "hard") -> Build:
    """Of every prompt the row of the highest win rate against the row of the lowest, with the column 'win_rate'
    (SPPO): P̂(y ≻ π_t) over the prompt's K rows, itself included as a tie.

    Rows are chosen by the win rates themselves, so that the winner's is never below ½. Prompts whose gap is not above
    ``least`` give no pair. judge: ``by_score()`` if None. labels: one of ``LABELS``, kept as the pairs' probability.
    """
    judge = judge or by_score()
    _check_labels(labels)

    def call(batch: Batch, rollout: Rollout) -> Iterator[Batch]:
        found = duels(rollout, judge)
        rate = found.win_rate(itself=True)
        winner, loser = extremes(torch.nan_to_num(rate), found.ids, torch.isfinite(rate))
        kept = rate[winner] - rate[loser] > least
        winner, loser = winner[kept], loser[kept]
        yield _paired(batch, winner, loser, _label(labels, found.between(winner, loser), rate, winner, loser), rate)

    return Build(f"best_worst_duels({judge.name}, {least}, {labels})", call, ("pairs",))


def all_pairs(judge: Judge | None = None, labels: str = "win_rate", least: float = 0.0) -> Build:
    """Every two rows of a prompt, the one of the higher win rate as winner, with the column 'win_rate' (DNO).

    A win rate is the mean over the prompt's other rows. labels 'win_rate' gives P = σ(r_w − r_l), the soft target of
    DNO's Algorithm 1; 'judge' the judge's own probability; 'hard' 1. Pairs whose win rates differ by no more than
    ``least``, ties included where labels are hard, are left out. judge: ``by_score()`` if None.
    """
    judge = judge or by_score()
    _check_labels(labels)

    def call(batch: Batch, rollout: Rollout) -> Iterator[Batch]:
        found = duels(rollout, judge)
        rate = found.win_rate()
        swap = rate[found.second] > rate[found.first]
        winner = torch.where(swap, found.second, found.first)
        loser = torch.where(swap, found.first, found.second)
        gap = rate[winner] - rate[loser]
        kept = torch.isfinite(found.p) & ((gap > least) if labels == "hard" or least > 0 else (gap >= 0))
        winner, loser = winner[kept], loser[kept]
        yield _paired(batch, winner, loser, _label(labels, found.between(winner, loser), rate, winner, loser), rate)

    return Build(f"all_pairs({judge.name}, {labels}, {least})", call, ("pairs",))


def margin_pairs(least: float = 2.0, floor: float = 5.0, channel: str | None = None) -> Build:
    """Every two rows of a prompt of which one scores ``floor`` or more and the other at least ``least`` lower: the
    large-margin filter of DNO-Prct (Rosset et al. 2024, 2404.03715, section 4; on a judge's scale of six points).

    Labels are hard. The paper asks a margin of 1 where the positive is the student's own and mixes in a teacher's
    answers; rows here are the student's, so give ``least=1`` for that reading.
    """

    def call(batch: Batch, rollout: Rollout) -> Iterator[Batch]:
        value, ok = (x.cpu() for x in row_reward(rollout, channel=channel))
        ids = rollout.samples.partition("prompt").ids.cpu()
        same = (ids[:, None] == ids[None, :]) & (ids >= 0)[:, None] & ok[:, None] & ok[None, :]
        far = (value[:, None] >= floor) & (value[:, None] - value[None, :] >= least) & (value[:, None] > value[None, :])
        winner, loser = (same & far).nonzero().unbind(-1)
        yield _paired(batch, winner, loser, None, None)

    return Build(f"margin_pairs({least}, {floor}, {channel})", call, ("pairs",))


def against_peers(
    judge: Judge | None = None, kl: float = 0.0, mixture: float = 0.0, partition: str = "prompt"
) -> Estimator:
    """Win rate against the other rows of the prompt, minus ½: the reward and the baseline of self-play (SPO, Swamy et
    al. 2024, 2401.04056, section 4), on every step of the row.

    Win rates of a group sum to half its size, so ½ is both the mean and, P(y ≻ y′) with y′ ~ π being ½ on average, the
    unbiased baseline; RLOO's would be n/(n−1) times as much. kl: τ of Nash-MD (Munos et al. 2023, 2312.00886, section
    7), subtracted as τ(ρ − mean ρ of the peers), ρ the row's log-ratio to the reference. mixture: β of Nash-MD's
    opponent π^{1−β}·π_ref^β: peers count by (π_ref/π)^β, self-normalised, which is exact for the geometric mixture of
    whole responses as the group grows and biased of order 1/k in a group of k (k = 2 has no choice of opponent, so that
    it is plain self-play); the paper and TRL mix token by token while sampling instead. judge: ``by_score()`` if None.
    """
    judge = judge or by_score()
    if not 0 <= mixture <= 1:
        raise GuerdonError(f"against_peers(mixture=…) must lie in [0, 1], but {mixture} came.")

    def call(rollout: Rollout) -> Batch:
        found = duels(rollout, judge, partition)
        ratio = torch.zeros(len(rollout))
        if kl or mixture:
            if rollout.steps is None:
                raise NeedsError("A reference is compared with on steps, but this world gives none.")
            ratio = rollout.steps.log_ratio("old", "reference").sum(-1).detach().cpu()
        rate = found.win_rate(log_weight=-mixture * ratio if mixture else None)
        ok = torch.isfinite(rate)
        value = torch.where(ok, rate - 0.5, 0.0)
        if kl:
            against = advantages.rloo(ratio, rollout.samples.partition(partition), ok)
            value, ok = value - kl * against.advantage, ok & against.ok
        return with_advantage(rollout, advantages.Estimate(torch.where(ok, value, 0.0), ok))

    name = f"against_peers({judge.name}, {kl}, {mixture})"
    return Estimator(name, call, ("advantages.total",), tuple(dict.fromkeys((*judge.needs, *kl_paths(kl or mixture)))))


class Acceleration(Companion):
    """The reference of every iteration goes past the policy that the last one ended with: θ_t = θ̂_t + α(θ̂_t − θ̂_{t−1})
    (APO, He et al. 2024, 2410.06293, Algorithm 1), for a reference that follows ``CopyEvery(every)``.

    θ̂ are the iterates before extrapolation: the live policy goes on from θ̂_t, and ends as the paper's output θ̂_{T+1}.
    In parameters this is the policy π̂_t·(π̂_t/π̂_{t−1})^α exactly where logits are linear in them, and an approximation
    elsewhere. alpha 0 changes nothing. Raises GuerdonError for alpha outside [0, 1).
    """

    def __init__(
        self, alpha: float = 0.3, every: int = 1, reference: str = "reference", name: str = "acceleration"
    ) -> None:
        if not 0 <= alpha < 1 or every < 1:
            raise GuerdonError(
                f"Acceleration takes alpha in [0, 1) and every of at least 1 update, but {alpha} and {every} came."
            )
        self.name, self.alpha, self.every, self.reference = name, alpha, every, reference
        self.iteration = -1
        self.previous: dict[str, Tensor] = {}

    def before_round(self, round: Round) -> None:
        """Where an iteration begins, put the extrapolated parameters in the reference's place."""
        now = round.step // self.every
        if now == self.iteration:
            return
        snapshots = only(round.snapshots)
        reached = {k: x.clone() for k, x in snapshots.parameters(self.reference).items()}
        if self.previous:
            past = {k: torch.lerp(self.previous[k], x, 1 + self.alpha) for k, x in reached.items()}
            snapshots.put(self.reference, past)
        self.iteration, self.previous = now, reached

    def after_round(self, round: Round) -> Mapping[str, float]:
        """Metric: the iteration."""
        return {f"{self.name}/iteration": float(self.iteration)}

    def state_dict(self) -> dict[str, Any]:
        """The iteration and its un-extrapolated parameters."""
        return {"iteration": self.iteration, "previous": self.previous}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Bit for bit."""
        self.iteration = int(state["iteration"])
        self.previous = {k: x.clone() for k, x in state["previous"].items()}


def _check_labels(labels: str) -> None:
    if labels not in LABELS:
        raise GuerdonError(f"Labels of pairs must be one of {', '.join(LABELS)}, but {labels!r} came.")


def _label(labels: str, p: Tensor, rate: Tensor, winner: Tensor, loser: Tensor) -> Tensor | None:
    if labels == "hard":
        return None
    return p if labels == "judge" else torch.sigmoid(rate[winner] - rate[loser])


def _paired(batch: Batch, winner: Tensor, loser: Tensor, preferred: Tensor | None, rate: Tensor | None) -> Batch:
    """The rows of the pairs alone, with their win rates."""
    at = batch.device
    pairs = Pairs(winner.to(at), loser.to(at), None if preferred is None else preferred.to(at))
    columns = batch.columns if rate is None else {**batch.columns, "win_rate": rate.to(at)}
    rows = torch.unique(torch.cat([pairs.winner, pairs.loser]))
    return replace(batch, pairs=pairs, columns=columns, block=None).take(rows)
