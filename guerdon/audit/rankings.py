"""Does a policy rank pairs as people do, how well could it, and which pairs can it not learn (Chen et al. 2024,
"Preference Learning Algorithms Do Not Learn Preference Rankings", 2405.19534).

Ranking accuracy asks for the likelihood of the preferred response to be higher; reward accuracy, which trainers log,
asks only for its log-ratio to the reference. Everything stays in logs: exponentials of long responses underflow.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn.functional import softplus

from guerdon import reduce
from guerdon.batch import Pairs, Steps, checks
from guerdon.errors import GuerdonError

BETAS = (0.01, 0.1, 1.0, 5.0, 10.0)
"""Over which the paper computes the alignment gap."""
CERTAIN = 1e-3
"""A rater share of 1 is read as 1 less this, as in the authors' code."""
SIMULATED = 0.75
"""Rater share of a preference without votes, as in the paper."""


@dataclass(frozen=True)
class PairLogps:
    """What P pairs are ranked by. winner, loser: summed log-probs under the policy, in nats; of_winner, of_loser: the
    same under the reference; winner_length, loser_length: steps of both sides. All [P]."""

    winner: Tensor
    loser: Tensor
    of_winner: Tensor
    of_loser: Tensor
    winner_length: Tensor
    loser_length: Tensor

    def __post_init__(self) -> None:
        for name, x in vars(self).items():
            checks.shape("PairLogps", name, x, len(self.winner))

    def __len__(self) -> int:
        return len(self.winner)

    @property
    def gap(self) -> Tensor:
        """log π(y_w) − log π(y_l) [P]."""
        return self.winner - self.loser

    @property
    def gap_per_step(self) -> Tensor:
        """The same of mean log-probs [P]; a side without steps has mean 0."""
        lengths = self.winner_length.clamp(min=1), self.loser_length.clamp(min=1)
        return self.winner / lengths[0] - self.loser / lengths[1]

    @property
    def reference_gap(self) -> Tensor:
        """log π_ref(y_w) − log π_ref(y_l) [P]."""
        return self.of_winner - self.of_loser

    @property
    def difficulty(self) -> Tensor:
        """c = log π_ref(y_l) − log π_ref(y_w) [P]: how many nats the reference ranks the pair wrongly by."""
        return -self.reference_gap


def pair_logps(steps: Steps, pairs: Pairs, of: str = "policy", to: str = "reference") -> PairLogps:
    """The pairs' summed log-probs from steps that hold both names, detached, in float64."""
    policy, reference = (reduce.total(steps.logprob(n).detach().double(), steps.mask) for n in (of, to))
    length = steps.mask.sum(-1)
    w, l = pairs.winner, pairs.loser
    return PairLogps(policy[w], policy[l], reference[w], reference[l], length[w], length[l])


def ranked_rightly(winner: Tensor, loser: Tensor) -> Tensor:
    """bool [P]: π(y_w) ≥ π(y_l); a tie counts as right, as in the paper's definition 2.2."""
    return winner >= loser


def ranking_accuracy(winner: Tensor, loser: Tensor) -> float:
    """R: share of pairs whose preferred side is at least as likely; log-probs [P] summed, or averaged for R̃. Raises
    GuerdonError without a pair."""
    return _mean(ranked_rightly(winner, loser))


def list_accuracy(logp: Tensor, value: Tensor) -> float:
    """Share of lists of K responses whose whole ranking by log-prob [G,K] is that by value [G,K]; for K = 2 this is R,
    but for ties, which are wrong where the values differ and right where they are equal."""
    order = (value.unsqueeze(-1) - value.unsqueeze(-2)).sign()
    found = (logp.unsqueeze(-1) - logp.unsqueeze(-2)).sign()
    return _mean(((order == found) | (order == 0)).flatten(1).all(-1))


def idealised(reference_gap: Tensor, beta: float, votes: Tensor | float = SIMULATED) -> Tensor:
    """bool [P]: whether the optimum of the β-regularised objective ranks the pair rightly.

    π*(y_w)/π*(y_l) = π_ref(y_w)/π_ref(y_l)·(a/(1 − a))^{1/β} > 1 (theorem 3.1), a = ``votes``, the share of raters who
    prefer y_w ([P] or one number); 1 is read as 1 − 10⁻³. Raises GuerdonError for β <= 0 or shares outside [0, 1].
    """
    share = torch.as_tensor(votes, dtype=torch.float64, device=reference_gap.device)
    if not beta > 0 or bool(((share < 0) | (share > 1)).any()):
        raise GuerdonError(f"idealised needs beta > 0 and rater shares in [0, 1], but beta {beta} and {votes} came.")
    return reference_gap.double() + torch.logit(share.clamp(CERTAIN, 1 - CERTAIN)) / beta > 0


def flip_threshold(difficulty: Tensor, beta: float) -> Tensor:
    """−log σ(βc) [P]: the pair is ranked rightly exactly where its DPO loss is at most this (theorem 4.1).

    Of a reference that is wrong by c nats the loss must fall far below log 2: at β = 0.1 to 0.598 for c = 2 and to
    0.127 for c = 20. Where the reference is right the threshold is at least log 2, so that a loss of 0.6 proves it.
    """
    return softplus(-beta * difficulty)


def out_of_reach_of_ipo(reference_gap: Tensor, tau: float) -> Tensor:
    """bool [P]: pairs that stay wrong even at an IPO loss of 0, whose margin of 1/(2τ) is less than the reference is
    wrong by."""
    return reference_gap < -1 / (2 * tau)


@dataclass(frozen=True)
class Flips:
    """How many pairs were ranked rightly before and after: kept (right, right), lost (right, wrong), won (wrong,
    right), left (wrong, wrong)."""

    kept: int
    lost: int
    won: int
    left: int

    @property
    def flipped(self) -> float | None:
        """Share of the pairs ranked wrongly before that are right now; None where there was none."""
        wrong = self.won + self.left
        return self.won / wrong if wrong else None


def flips(before: Tensor, after: Tensor) -> Flips:
    """The four counts from bool [P] before and after."""
    kinds = ((before, after), (before, ~after), (~before, after), (~before, ~after))
    return Flips(*(int((a & b).sum()) for a, b in kinds))


@dataclass(frozen=True)
class AlignmentGap:
    """R* − R over several β. idealised: β -> R*. least, median, most: of the gaps."""

    idealised: dict[float, float]
    least: float
    median: float
    most: float


def alignment_gap(logps: PairLogps, betas: Sequence[float] = BETAS, votes: Tensor | float = SIMULATED) -> AlignmentGap:
    """How far ranking accuracy is below what the objective's optimum would reach on these pairs, at every β: it is not
    known which β a finished model stands for. Raises GuerdonError without a pair or a β."""
    if not betas:
        raise GuerdonError("alignment_gap: at least one beta is needed, but none came.")
    best = {float(b): _mean(idealised(logps.reference_gap, b, votes)) for b in betas}
    found = ranking_accuracy(logps.winner, logps.loser)
    gaps = sorted(x - found for x in best.values())
    middle = len(gaps) // 2
    median = gaps[middle] if len(gaps) % 2 else (gaps[middle - 1] + gaps[middle]) / 2
    return AlignmentGap(best, gaps[0], median, gaps[-1])


@dataclass(frozen=True)
class DifficultyBin:
    """Pairs whose learning difficulty c lies in [low, high) nats (±inf at the ends): how many, and the share ranked
    rightly by the policy (None where there is none)."""

    low: float
    high: float
    pairs: int
    right: float | None


EDGES = (-math.inf, -20.0, -5.0, -1.0, 0.0, 1.0, 5.0, 20.0, math.inf)
"""Of the difficulty histogram, in nats; above 0 the reference is wrong."""


def difficulty_bins(logps: PairLogps, edges: Sequence[float] = EDGES) -> tuple[DifficultyBin, ...]:
    """The histogram of learning difficulty with what became of each bin."""
    c, right = logps.difficulty, ranked_rightly(logps.winner, logps.loser)
    out = []
    for low, high in pairwise(edges):
        held = (c >= low) & (c < high)
        n = int(held.sum())
        out.append(DifficultyBin(low, high, n, float(right[held].float().mean()) if n else None))
    return tuple(out)


def _mean(right: Tensor) -> float:
    if not len(right):
        raise GuerdonError("A ranking accuracy needs at least one pair, but none came.")
    return float(right.double().mean())
