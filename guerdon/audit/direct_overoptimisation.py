"""Over-optimisation of direct alignment: quality against distance as a law, and length inside the implicit reward
(Rafailov et al. 2024, "Scaling Laws for Reward Model Overoptimization in Direct Alignment Algorithms", 2406.02900)."""

import math
from dataclasses import dataclass

import numpy as np

from guerdon.audit.overoptimisation import Curve, as_curve
from guerdon.errors import GuerdonError


@dataclass(frozen=True)
class Hump:
    """R(d) = d(α − β log d), d = √KL in nats, log natural (Gao et al. 2023, eq. for RL). r2: share of the variance of R
    it explains. reach: largest d it was fitted to."""

    alpha: float
    beta: float
    r2: float
    reach: float

    def __call__(self, kl: float) -> float:
        """R at a KL; its limit 0 at KL 0. Raises GuerdonError below 0."""
        if not kl >= 0:
            raise GuerdonError(f"A KL is at least 0, but {kl} came.")
        d = math.sqrt(kl)
        return d * (self.alpha - self.beta * math.log(d)) if d else 0.0

    @property
    def peak(self) -> float:
        """d* = e^{α/β − 1}, where R is highest; inf where β <= 0 (no hump: R rises for ever) or the power overflows."""
        if self.beta <= 0:
            return math.inf
        power = self.alpha / self.beta - 1
        return math.exp(power) if power < 700 else math.inf

    @property
    def height(self) -> float:
        """R(d*) = β·d*."""
        return self.beta * self.peak if self.beta > 0 else math.inf

    @property
    def passed(self) -> bool:
        """Whether the points reach past the peak, so that the fall was seen and not only foretold."""
        return self.peak < self.reach


def fit_hump(kl: Curve, quality: Curve) -> Hump:
    """Least squares of quality on (d, −d·log d), d = √KL; linear in α and β, through 0 at KL 0.

    quality: relative to the reference, 0 there: gold minus the reference's gold, or win rate minus ½. Sampled KL may be
    below 0 in small batches: give an exact or averaged one. Points within an epoch belong in it, since the best one
    often comes early. Raises GuerdonError for fewer than three different KL above 0, or a KL below 0.
    """
    x, y = as_curve("kl", kl), as_curve("quality", quality)
    if len(x) != len(y):
        raise GuerdonError(f"fit_hump needs a quality a KL, but {len(x)} KL and {len(y)} qualities came.")
    if (x < 0).any():
        raise GuerdonError(f"fit_hump needs KL of at least 0, but {x.min()} came; average it over more samples.")
    if len(set(x[x > 0].tolist())) < 3:
        raise GuerdonError("fit_hump needs at least three different KL above 0: two would fit any hump.")
    d = np.sqrt(x)
    columns = np.stack([d, -d * np.log(np.where(d > 0, d, 1.0))], 1)
    (alpha, beta), *_ = np.linalg.lstsq(columns, y, rcond=None)
    spread = float(((y - y.mean()) ** 2).sum())
    left = float(((y - columns @ np.array([alpha, beta])) ** 2).sum())
    return Hump(float(alpha), float(beta), 1 - left / spread if spread > 0 else math.nan, float(d.max()))


@dataclass(frozen=True)
class LengthLaw:
    """implicit reward ≈ slope·length + intercept. r2: share of its variance that length explains (NaN where the reward
    is constant)."""

    slope: float
    intercept: float
    r2: float


def length_law(reward: Curve, length: Curve) -> LengthLaw:
    """Regression of implicit rewards β·ρ(y) of responses on their lengths: an r2 that is large says that the method
    learned length first, as small models and small KL budgets do (section 3.3).

    Raises GuerdonError for fewer than three responses or lengths that are all equal.
    """
    y, x = as_curve("reward", reward), as_curve("length", length)
    if len(x) != len(y) or len(x) < 3 or len(set(x.tolist())) < 2:
        raise GuerdonError(
            f"length_law needs three responses of at least two lengths, but {len(y)} rewards and {len(x)} lengths came."
        )
    gap = x - x.mean()
    slope = float((gap * (y - y.mean())).sum() / (gap**2).sum())
    spread = float(((y - y.mean()) ** 2).sum())
    r2 = slope**2 * float((gap**2).sum()) / spread if spread > 0 else math.nan
    return LengthLaw(slope, float(y.mean() - slope * x.mean()), r2)
