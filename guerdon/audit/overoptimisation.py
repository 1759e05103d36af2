"""Where a policy begins to exploit its reward: pure functions on one run's curves, ordered by training step.

All curves are arrays [S]: kl (nats a response), proxy (the reward trained on), gold (the reward meant). Gao et al. 2023
("Scaling Laws for Reward Model Overoptimization") plot gold against KL; so do these. Gold is known in testbeds only;
elsewhere a held-out judge or a second reward model stands in and must be called that.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from guerdon.errors import GuerdonError

Curve = np.ndarray | Sequence[float]


@dataclass(frozen=True)
class Onset:
    """Where over-optimisation set in.

    found: whether it did. index, kl: the step of the smoothed gold's peak and the KL there. gold_start, gold_end:
    mean of the first and of the last window; drop = gold_peak − gold_end. proxy_rise: mean proxy of the last window
    minus the smoothed proxy at the gold peak. threshold: the least drop that counts.
    """

    found: bool
    index: int
    kl: float
    gold_start: float
    gold_peak: float
    gold_end: float
    drop: float
    proxy_rise: float
    threshold: float


def as_curve(name: str, values: Curve, length: int | None = None) -> np.ndarray:
    """The values [S] as float64. Raises GuerdonError unless they are finite and, where ``length`` is given, so many."""
    x = np.asarray(values, dtype=np.float64)
    if x.ndim != 1 or not len(x):
        raise GuerdonError(f"The curve {name!r} must be a non-empty list of numbers, but shape {list(x.shape)} came.")
    if length is not None and len(x) != length:
        raise GuerdonError(f"The curve {name!r} must have {length} steps like the others, but has {len(x)}.")
    if not np.isfinite(x).all():
        step = int(np.flatnonzero(~np.isfinite(x))[0])
        raise GuerdonError(f"The curve {name!r} must be finite, but step {step} is {x[step]}.")
    return x


def smooth(values: Curve, window: int = 7) -> np.ndarray:
    """Centred moving average [S]; near the ends the window shrinks on both sides, so that no step is shifted.

    ``window`` is made odd by rounding down; 1 changes nothing. Raises GuerdonError for window < 1.
    """
    x = as_curve("values", values)
    if window < 1:
        raise GuerdonError(f"The smoothing window must be at least 1 step, but {window} came.")
    at = np.arange(len(x))
    half = np.minimum((window - 1) // 2, np.minimum(at, len(x) - 1 - at))
    total = np.concatenate([[0.0], np.cumsum(x)])
    return (total[at + half + 1] - total[at - half]) / (2 * half + 1)


def noise(values: Curve, window: int = 7) -> float:
    """Standard error of a smoothed point: the median absolute second difference turned into a standard deviation,
    over √window.

    Second differences see the step-to-step noise and not the trend: for independent noise their sd is √6 times its sd.
    0 for fewer than three steps.
    """
    x = as_curve("values", values)
    if len(x) < 3:
        return 0.0
    sd = 1.4826 * float(np.median(np.abs(np.diff(x, 2)))) / np.sqrt(6.0)
    return sd / np.sqrt(min(window, len(x)))


def onset(kl: Curve, proxy: Curve, gold: Curve, window: int = 7, threshold: float | None = None) -> Onset:
    """Over-optimisation set in where smoothed gold peaks, if after it gold falls by more than ``threshold`` while the
    proxy rises.

    threshold: in gold's units; None for four standard errors of a smoothed point (``noise``), because a maximum of a
    noisy curve lies above the truth. The proxy, in its own units, must rise by more than two of its own standard
    errors. Ties in the peak go to the first.
    """
    gold_raw = as_curve("gold", gold)
    kl_s = smooth(as_curve("kl", kl, len(gold_raw)), window)
    proxy_raw = as_curve("proxy", proxy, len(gold_raw))
    gold_s, proxy_s = smooth(gold_raw, window), smooth(proxy_raw, window)
    least = 4.0 * noise(gold_raw, window) if threshold is None else float(threshold)
    # At the ends the smoothing window has shrunk to one noisy step: the peak is sought among whole windows (all
    # steps of a run shorter than two windows), and start and end are means of whole windows.
    half = (window - 1) // 2 if len(gold_s) >= 2 * window else 0
    peak = half + int(np.argmax(gold_s[half : len(gold_s) - half]))
    start, end = float(gold_raw[:window].mean()), float(gold_raw[-window:].mean())
    drop = float(gold_s[peak]) - end
    rise = float(proxy_raw[-window:].mean() - proxy_s[peak])
    found = drop > least and rise > 2.0 * noise(proxy_raw, window)
    return Onset(found, peak, float(kl_s[peak]), start, float(gold_s[peak]), end, drop, rise, least)


def at_equal_kl(kl: Curve, values: Curve, at: Curve, window: int = 7) -> np.ndarray:
    """Smoothed ``values`` where the run first reaches each KL of ``at`` [K], linear between steps; NaN where it never
    does, or started beyond.

    KL need not rise at every step: its running maximum is what is crossed.
    """
    raw = as_curve("values", values)
    reached = np.maximum.accumulate(smooth(as_curve("kl", kl, len(raw)), window))
    keep = np.concatenate([[True], np.diff(reached) > 0])
    x, y = reached[keep], smooth(raw, window)[keep]
    wanted = np.asarray(at, dtype=np.float64)
    inside = (wanted >= x[0]) & (wanted <= x[-1])
    return np.where(inside, np.interp(wanted, x, y), np.nan)


def common_kl(runs: Sequence[Curve], points: int = 6, window: int = 7) -> np.ndarray:
    """``points`` KL values that every run passes through, evenly from the latest start to the earliest end; empty where
    the runs do not overlap."""
    if not runs:
        return np.zeros(0)
    smoothed = [smooth(as_curve("kl", kl), window) for kl in runs]
    low, high = max(float(s[0]) for s in smoothed), min(float(s.max()) for s in smoothed)
    return np.linspace(low, high, points) if high > low else np.zeros(0)


def area_under_gold(kl: Curve, gold: Curve, limit: float, window: int = 7, points: int = 101) -> float:
    """Mean smoothed gold over KL in [start, limit], where start is the run's first KL; a run that ends before ``limit``
    keeps its last value. A bounded stand-in for 'gold at the last step', which has heavy tails."""
    raw = as_curve("gold", gold)
    reached = np.maximum.accumulate(smooth(as_curve("kl", kl, len(raw)), window))
    keep = np.concatenate([[True], np.diff(reached) > 0])
    if not limit > reached[0]:
        raise GuerdonError(f"The KL limit must lie above the run's first KL, {reached[0]:.3g}, but {limit} came.")
    grid = np.linspace(reached[0], limit, points)
    return float(np.trapezoid(np.interp(grid, reached[keep], smooth(raw, window)[keep]), grid) / (limit - reached[0]))
