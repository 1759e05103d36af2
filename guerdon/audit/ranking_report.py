"""The rankings of one policy in one value, and in words."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor

from guerdon.audit.headline import percent
from guerdon.audit.intervals import Interval, wilson
from guerdon.audit.rankings import (
    BETAS,
    SIMULATED,
    AlignmentGap,
    DifficultyBin,
    Flips,
    PairLogps,
    alignment_gap,
    difficulty_bins,
    flips,
    ranked_rightly,
)
from guerdon.errors import GuerdonError


@dataclass(frozen=True)
class Rankings:
    """How a policy ranks pairs beside its reference.

    accuracy, per_step: ranking accuracy R by summed and R̃ by mean log-probs. reward: share whose log-ratio to the
    reference is higher (ties ½), another thing than R. reference: R of the reference. gap: alignment gap over β.
    changed: what became of right and wrong pairs. difficulty: the histogram of c. chosen, rejected: mean log-ratio to
    the reference of both sides, nats a response; both are 0 where the policy is its own reference.
    """

    pairs: int
    accuracy: Interval
    per_step: Interval
    reward: Interval
    reference: Interval
    gap: AlignmentGap
    changed: Flips
    difficulty: tuple[DifficultyBin, ...]
    chosen: float
    rejected: float

    @property
    def moved(self) -> bool:
        """Whether the policy is another than its reference."""
        return bool(self.chosen or self.rejected)

    def to_dict(self) -> dict[str, Any]:
        """Plain dictionaries and numbers for JSON, the sentences among them; an open end of the histogram is None."""
        plain = asdict(self)
        plain["gap"]["idealised"] = {f"{b:g}": x for b, x in self.gap.idealised.items()}
        for entry in plain["difficulty"]:
            entry |= {k: entry[k] if abs(entry[k]) < float("inf") else None for k in ("low", "high")}
        return {**plain, "sentences": list(self.sentences())}

    def sentences(self) -> tuple[str, ...]:
        """What the numbers say, at most five sentences."""
        start, now = percent(self.reference.estimate), percent(self.accuracy.estimate)
        before = f" ({start} before training)" if self.moved else ""
        said = [f"The preferred side is the likelier one in {now} of the pairs{before}."]
        if self.chosen < 0 and self.rejected < 0:
            said.append(
                f"Both sides became less likely, the preferred by {-self.chosen:.2f} and the other by "
                f"{-self.rejected:.2f} nats a response: a pairwise loss sees only their difference, so this is "
                "expected, but the probability went to responses that nobody compared."
            )
        if self.reward.estimate - self.accuracy.estimate >= 0.05:
            said.append(
                f"Its implicit reward is right in {percent(self.reward.estimate)}: that counts pairs that moved the "
                "right way, not pairs that are ranked rightly."
            )
        flipped, wrong = self.changed.flipped, self.changed.won + self.changed.left
        if self.moved and flipped is not None:
            said.append(
                f"Of {wrong:,} pairs the start ranked wrongly, {percent(flipped)} are right now; a pair is hard to "
                "turn where the start was wrong by many nats, and a small loss does not show that it turned."
            )
        best = max(self.gap.idealised.values())
        if best - self.accuracy.estimate >= 0.05:
            said.append(
                f"The objective's own optimum would rank up to {percent(best)} rightly, so that this is no limit of "
                "the data."
            )
        return tuple(said)


def rankings(
    logps: PairLogps,
    votes: Tensor | float = SIMULATED,
    betas: Sequence[float] = BETAS,
    level: float = 0.95,
) -> Rankings:
    """Every analysis of ``audit.rankings`` of one policy's pairs. votes: share of raters who prefer the winner, [P] or
    one number. Raises GuerdonError without a pair, or where a log-prob is NaN."""
    if not len(logps):
        raise GuerdonError("rankings: at least one pair is needed, but none came.")
    for name in ("winner", "loser", "of_winner", "of_loser"):
        if bool(getattr(logps, name).isnan().any()):
            raise GuerdonError(f"rankings: the log-probs {name!r} hold NaN; mend the forward pass that gave them.")
    after, before = ranked_rightly(logps.winner, logps.loser), ranked_rightly(logps.of_winner, logps.of_loser)
    moved = logps.gap - logps.reference_gap
    n = len(logps)

    def share(right: float) -> Interval:
        return wilson(right, n, level)

    return Rankings(
        n,
        share(float(after.sum())),
        share(float((logps.gap_per_step >= 0).sum())),
        share(float((moved > 0).sum() + 0.5 * (moved == 0).sum())),
        share(float(before.sum())),
        alignment_gap(logps, betas, votes),
        flips(before, after),
        difficulty_bins(logps),
        float((logps.winner - logps.of_winner).mean()),
        float((logps.loser - logps.of_loser).mean()),
    )
