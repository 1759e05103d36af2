"""How far several judgements of the same thing agree."""

from collections import Counter
from collections.abc import Hashable, Sequence


def krippendorff_alpha(units: Sequence[Sequence[Hashable]]) -> float | None:
    """Krippendorff's α for nominal values: 1 − observed / expected disagreement.

    units: the values each unit got, any number of them; units with fewer than two count for nothing. 1 is perfect
    agreement, 0 what chance gives with these values, negative worse. None where nothing can disagree: no unit has two
    values, or all values are one and the same.

    Krippendorff, *Computing Krippendorff's Alpha-Reliability* (2011), nominal metric.
    """
    judged = [Counter(values) for values in units if len(values) > 1]
    totals: Counter[Hashable] = sum(judged, Counter())
    n = totals.total()
    expected = n * n - sum(count * count for count in totals.values())
    if not expected:
        return None
    # Ordered pairs of different values within a unit, each unit weighted by 1/(m − 1).
    observed = sum(
        (unit.total() ** 2 - sum(count * count for count in unit.values())) / (unit.total() - 1) for unit in judged
    )
    return 1.0 - (n - 1) * observed / expected
