"""Verdicts from paired differences: Student intervals, two one-sided tests, and the seeds a vague answer would need."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from guerdon.errors import GuerdonError

CONFIDENCE = 0.95
MOST_SEEDS = 1000


@dataclass(frozen=True)
class Interval:
    """A mean of ``n`` paired differences with its confidence interval; sd is over seeds (0 where all agree)."""

    estimate: float
    low: float
    high: float
    sd: float
    n: int


@dataclass(frozen=True)
class Verdict:
    """status: 'reproduced', 'not reproduced', 'inconclusive', 'stale', 'smoke' or 'unfinished'.

    interval: of the difference in the claimed direction (None where there is none). needed: paired seeds that would
    probably decide an inconclusive difference, None elsewhere and where more than 1000 would be needed. sentence: for
    people.
    """

    status: str
    sentence: str
    interval: Interval | None = None
    needed: int | None = None


def t_quantile(p: float, degrees: int) -> float:
    """Quantile of Student's t distribution."""
    from scipy.stats import t

    return float(t.ppf(p, degrees))


def paired_interval(differences: Sequence[float], confidence: float = CONFIDENCE) -> Interval:
    """Student interval of the mean of paired differences. Raises GuerdonError below 2 seeds or where one is not
    finite."""
    n = len(differences)
    if n < 2:
        raise GuerdonError(f"An interval needs at least 2 paired seeds, but {n} came.")
    if not all(math.isfinite(d) for d in differences):
        raise GuerdonError("A paired difference is not finite; a run failed, and a failed run is no evidence.")
    mean = math.fsum(differences) / n
    sd = math.sqrt(math.fsum((d - mean) ** 2 for d in differences) / (n - 1))
    half = t_quantile((1 + confidence) / 2, n - 1) * sd / math.sqrt(n)
    return Interval(mean, mean - half, mean + half, sd, n)


def seeds_needed(sd: float, distance: float, confidence: float = CONFIDENCE) -> int | None:
    """Fewest seeds whose expected half-width is at most ``distance``; None above 1000 (or where the distance is 0)."""
    if sd == 0:
        return 2
    if distance <= 0:
        return None
    for n in range(2, MOST_SEEDS + 1):
        if t_quantile((1 + confidence) / 2, n - 1) * sd / math.sqrt(n) <= distance:
            return n
    return None


def effect_verdict(differences: Sequence[float], smallest: float) -> Verdict:
    """A claimed effect: differences are method − baseline in the claimed direction, ``smallest`` is δ > 0.

    reproduced: lower end > 0 and estimate ≥ δ. not reproduced: upper end < δ. Else inconclusive.
    """
    i = paired_interval(differences)
    shown = f"{i.estimate:+.3g} [{i.low:+.3g}, {i.high:+.3g}] over {i.n} seeds, δ = {smallest:g}"
    if i.low > 0 and i.estimate >= smallest:
        return Verdict("reproduced", f"reproduced: {shown}", i)
    if i.high < smallest:
        return Verdict("not reproduced", f"not reproduced: {shown}", i)
    distance = i.estimate if i.estimate >= smallest else smallest - i.estimate
    needed = seeds_needed(i.sd, distance)
    return Verdict("inconclusive", f"inconclusive: {shown}; {_seeds(needed)} would probably decide", i, needed)


def parity_verdict(differences: Sequence[float], smallest: float) -> Verdict:
    """A claim of parity within ±δ by two one-sided tests at 5 %: the 90 % interval lies inside (−δ, δ).

    not reproduced: the 95 % interval lies outside [−δ, δ] altogether. Else inconclusive.
    """
    i = paired_interval(differences, 0.90)
    wide = paired_interval(differences)
    shown = f"{i.estimate:+.3g}, 90 % interval [{i.low:+.3g}, {i.high:+.3g}] over {i.n} seeds, δ = ±{smallest:g}"
    if -smallest < i.low and i.high < smallest:
        return Verdict("reproduced", f"reproduced (parity): {shown}", i)
    if wide.low > smallest or wide.high < -smallest:
        return Verdict("not reproduced", f"not reproduced (parity): {shown}", wide)
    needed = seeds_needed(i.sd, abs(smallest - abs(i.estimate)), 0.90)
    return Verdict("inconclusive", f"inconclusive (parity): {shown}; {_seeds(needed)} would probably decide", i, needed)


def check_verdict(passed: Sequence[float], check: str) -> Verdict:
    """Identities, metrics and surveys: every seed reports 1 (its own check passed) or 0."""
    failed = sum(1 for p in passed if p != 1)
    if failed:
        return Verdict("not reproduced", f"not reproduced: {check} fails in {failed} of {len(passed)} seeds")
    return Verdict("reproduced", f"reproduced: {check} holds in all {len(passed)} seeds")


def expected_by_chance(claims: int) -> float:
    """'reproduced' verdicts that chance alone would give at most among ``claims`` effect claims without any effect.

    The 95 % interval lies above 0 in 2.5 % of them; the demand that the estimate reach δ only lowers this.
    """
    return claims * (1 - CONFIDENCE) / 2


def _seeds(needed: int | None) -> str:
    return f"more than {MOST_SEEDS} seeds" if needed is None else f"{needed} seeds"
