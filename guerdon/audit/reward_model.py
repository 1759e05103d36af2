"""Is a pairwise scorer any good: accuracy, calibration and length dependence from the scores it gave, nothing else."""

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from guerdon.audit.intervals import Interval, wilson
from guerdon.errors import GuerdonError


@dataclass(frozen=True)
class ReliabilityBin:
    """Pairs of similar confidence. confidence: their mean; accuracy: share right (ties ½), with interval; count."""

    confidence: float
    accuracy: Interval
    count: int


@dataclass(frozen=True)
class Correlation:
    """Pearson's r and Spearman's ρ (average ranks on ties); None where a side is constant."""

    pearson: float | None
    spearman: float | None


@dataclass(frozen=True)
class RewardModelReport:
    """How P pairs were scored. margin = score(chosen) − score(rejected); P(chosen) = σ(margin); tie: margin exactly 0.

    accuracy: share of positive margins, a tie counting ½. brier: mean (1 − P)². log_loss: mean −log P, nats. ece: Σ
    over bins of count/P·|accuracy − confidence|, confidence = max(P, 1 − P), bins as in ``reliability``. margin_counts,
    margin_edges: histogram, one more edge than counts. reward_length: score and length of all responses;
    margin_length: margin against length difference, which prompts cannot confound. chosen_longer, chosen_shorter:
    accuracy where length points to, or away from, the chosen response. The last four are None without lengths.
    """

    pairs: int
    ties: int
    accuracy: Interval
    brier: float
    log_loss: float
    ece: float
    binning: str
    reliability: tuple[ReliabilityBin, ...]
    margin_mean: float
    margin_counts: tuple[int, ...]
    margin_edges: tuple[float, ...]
    reward_length: Correlation | None
    margin_length: Correlation | None
    chosen_longer: Interval | None
    chosen_shorter: Interval | None

    def __str__(self) -> str:
        return (
            f"{self.pairs} pairs: accuracy {self.accuracy}, ECE {self.ece:.3f}, Brier {self.brier:.3f}, "
            f"log loss {self.log_loss:.3f} nats"
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain dictionaries, lists and numbers, ready for JSON."""
        return asdict(self)


def evaluate_reward_model(
    chosen: Tensor,
    rejected: Tensor,
    chosen_length: Tensor | None = None,
    rejected_length: Tensor | None = None,
    bins: int = 10,
    binning: str = "mass",
    level: float = 0.95,
) -> RewardModelReport:
    """Report on scores chosen, rejected [P] (any float dtype; computed in float64) and lengths [P] in any unit.

    binning: 'mass' puts equally many pairs into each bin of confidence (equal confidences stay together, so bins may be
    fewer); 'width' cuts [½, 1] into equal parts, empty ones left out. Confidence is that of Bradley–Terry; a scorer
    trained otherwise may rank well and still be uncalibrated. Guo et al. 2017, *On Calibration of Modern Neural
    Networks*, eq. 3. Raises GuerdonError for no pairs, unequal shapes, or a score that is not finite, naming the pair.
    """
    winners, losers = _column(chosen, "chosen"), _column(rejected, "rejected", len(chosen))
    margin = winners - losers
    right = _right(margin)
    probability = torch.sigmoid(margin)
    reliability = _reliability(torch.maximum(probability, 1 - probability), right, bins, binning, level)
    counts, edges = torch.histogram(margin, bins=min(30, max(5, len(margin) // 10)))
    lengths = _lengths(chosen_length, rejected_length, len(margin))
    longer = None if lengths is None else lengths[0] - lengths[1]
    return RewardModelReport(
        pairs=len(margin),
        ties=int((margin == 0).sum()),
        accuracy=wilson(float(right.sum()), len(right), level),
        brier=float((1 - probability).square().mean()),
        log_loss=float(torch.nn.functional.softplus(-margin).mean()),
        ece=sum(b.count * abs(b.accuracy.estimate - b.confidence) for b in reliability) / len(margin),
        binning=binning,
        reliability=reliability,
        margin_mean=float(margin.mean()),
        margin_counts=tuple(int(count) for count in counts),
        margin_edges=tuple(edges.tolist()),
        reward_length=None if lengths is None else correlation(torch.cat([winners, losers]), torch.cat(lengths)),
        margin_length=None if longer is None else correlation(margin, longer),
        chosen_longer=None if longer is None else _accuracy(right[longer > 0], level),
        chosen_shorter=None if longer is None else _accuracy(right[longer < 0], level),
    )


def correlation(x: Tensor, y: Tensor) -> Correlation:
    """Pearson and Spearman correlation of x, y [n]; None where n < 2 or a side is constant."""
    return Correlation(_pearson(x.double(), y.double()), _pearson(_ranks(x), _ranks(y)))


def _pearson(x: Tensor, y: Tensor) -> float | None:
    if len(x) < 2 or bool((x == x[0]).all()) or bool((y == y[0]).all()):
        return None
    x, y = x - x.mean(), y - y.mean()
    return float(((x / x.norm()) @ (y / y.norm())).clamp(-1.0, 1.0))


def _ranks(x: Tensor) -> Tensor:
    """Ranks from 1, equal values sharing the mean of the ranks they cover."""
    _, at, counts = torch.unique(x, return_inverse=True, return_counts=True)
    last = counts.cumsum(0).double()
    return (last - (counts.double() - 1) / 2)[at]


def _right(margin: Tensor) -> Tensor:
    return (margin > 0).double() + 0.5 * (margin == 0).double()


def _accuracy(right: Tensor, level: float) -> Interval | None:
    return wilson(float(right.sum()), len(right), level) if len(right) else None


def _reliability(
    confidence: Tensor, right: Tensor, bins: int, binning: str, level: float
) -> tuple[ReliabilityBin, ...]:
    """The occupied bins of confidence [P] in [½, 1], lowest first."""
    if binning not in ("mass", "width") or bins < 1:
        raise GuerdonError(f"binning must be 'mass' or 'width' with bins >= 1, but {binning!r}, {bins} came.")
    inner = torch.arange(1, bins, dtype=torch.float64) / bins
    edges = 0.5 + inner / 2 if binning == "width" else torch.quantile(confidence, inner)
    at = torch.bucketize(confidence, edges.unique(), right=True)
    groups = [at == i for i in at.unique().tolist()]
    return tuple(
        ReliabilityBin(float(confidence[g].mean()), wilson(float(right[g].sum()), int(g.sum()), level), int(g.sum()))
        for g in groups
    )


def _column(x: Tensor, name: str, rows: int | None = None) -> Tensor:
    """x [P] as detached float64 on the CPU. Raises GuerdonError for another shape or values that are not finite."""
    if x.ndim != 1 or not len(x) or (rows is not None and len(x) != rows):
        want = "[P] with P >= 1" if rows is None else f"[{rows}]"
        raise GuerdonError(f"evaluate_reward_model: {name} must have shape {want}, but {list(x.shape)} came.")
    column = x.detach().double().cpu()
    bad = (~torch.isfinite(column)).nonzero()
    if len(bad):
        i = int(bad[0])
        raise GuerdonError(f"evaluate_reward_model: {name}[{i}] is {float(column[i])}; every score must be finite.")
    return column


def _lengths(chosen: Tensor | None, rejected: Tensor | None, rows: int) -> tuple[Tensor, Tensor] | None:
    if chosen is None and rejected is None:
        return None
    if chosen is None or rejected is None:
        raise GuerdonError("evaluate_reward_model: lengths of both sides are needed, but only one came.")
    return _column(chosen, "chosen_length", rows), _column(rejected, "rejected_length", rows)
