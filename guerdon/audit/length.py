"""What length alone says about a preference: the bias of the data, and the baseline every reward model has to beat."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from guerdon.audit.intervals import Interval, bootstrap, wilson
from guerdon.batch import Preference
from guerdon.data import with_comparisons
from guerdon.errors import GuerdonError


@dataclass(frozen=True)
class LengthBias:
    """Lengths of preferred and other responses. unit: what was counted.

    longer: share of pairs whose chosen response is longer, among the pairs of unequal length (``equal`` pairs are not
    counted), None where there are none. difference: mean length of chosen − rejected. chosen, rejected: mean lengths.
    """

    unit: str
    chosen: float
    rejected: float
    difference: Interval
    longer: Interval | None
    equal: int


@dataclass(frozen=True)
class LengthBaseline:
    """A predictor that sees nothing but lengths, fitted on one set and measured on another.

    accuracy: held-out share of pairs it orders rightly, pairs of equal length counting ½. weight: log-odds that a
    response is preferred, per unit of length it is longer; its sign says whether longer or shorter wins.
    """

    accuracy: Interval
    weight: float
    train: int


def length_differences(preferences: Sequence[Preference], measure: Callable[[str], int] = len) -> Tensor:
    """(chosen, rejected) lengths [P,2], float64, of all hard or soft comparisons; exact ties are left out."""
    rows = []
    for preference in map(with_comparisons, preferences):
        lengths = [measure(preference.response_text(i)) for i in range(len(preference.responses))]
        rows += [(lengths[winner], lengths[loser]) for winner, loser, p, _ in preference.pairs() if p != 0.5]
    return torch.tensor(rows, dtype=torch.float64).reshape(-1, 2)


def length_bias(lengths: Tensor, unit: str = "characters", level: float = 0.95) -> LengthBias:
    """The bias in (chosen, rejected) lengths [P,2]. Raises GuerdonError where there is no pair."""
    if not len(lengths):
        raise GuerdonError("length_bias: at least one pair that is not a tie is needed, but none came.")
    difference = lengths[:, 0] - lengths[:, 1]
    longer, unequal = int((difference > 0).sum()), int((difference != 0).sum())
    return LengthBias(
        unit,
        float(lengths[:, 0].mean()),
        float(lengths[:, 1].mean()),
        bootstrap(difference, level=level),
        wilson(longer, unequal, level) if unequal else None,
        len(lengths) - unequal,
    )


def length_baseline(
    train: Sequence[Preference],
    test: Sequence[Preference],
    measure: Callable[[str], int] = len,
    level: float = 0.95,
) -> LengthBaseline:
    """Logistic regression of the choice on the length difference, fitted on ``train``, measured on ``test``.

    No intercept: exchanging the two responses must exchange the prediction. Raises GuerdonError where a side has no
    pair that is not a tie.
    """
    fitted, held = length_differences(train, measure), length_differences(test, measure)
    if not len(fitted) or not len(held):
        raise GuerdonError(f"length_baseline: both sides need pairs, but {len(fitted)} and {len(held)} came.")
    weight = _logistic_weight(fitted[:, 0] - fitted[:, 1])
    logits = weight * (held[:, 0] - held[:, 1])
    right = (logits > 0).double() + 0.5 * (logits == 0).double()
    return LengthBaseline(wilson(float(right.sum()), len(held), level), weight, len(fitted))


def _logistic_weight(difference: Tensor, ridge: float = 1e-3, steps: int = 50) -> float:
    """argmin_w mean softplus(−w·d) + ridge/2·(w·s)², by Newton; s is the root mean square of d, 0 weight where s = 0.

    The ridge keeps the weight finite where one length rule explains every pair.
    """
    scale = float(difference.square().mean().sqrt())
    if scale == 0.0:
        return 0.0
    x, w = difference / scale, torch.zeros((), dtype=torch.float64)
    for _ in range(steps):
        miss = torch.sigmoid(-w * x)
        gradient = ridge * w - (miss * x).mean()
        curvature = ridge + (miss * (1 - miss) * x * x).mean()
        # The loss is convex with curvature at most mean(x²)/4 + ridge: a step bounded by that never overshoots far.
        step = (gradient / curvature).clamp(-1.0, 1.0)
        w = w - step
        if abs(float(step)) < 1e-12:
            break
    return float(w) / scale
