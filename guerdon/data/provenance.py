"""What was done to a record, kept with it."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from guerdon.batch import Comparison, Preference

MADE_BY = "made_by"
"""The column of ``Preference.extra`` in which transforms say what they did: a list of mappings, the latest last."""


def noted(preference: Preference, transform: str, **about: Any) -> Preference:
    """The record with one more entry {'transform': …, **about} of its provenance."""
    return replace(
        preference, extra={**preference.extra, MADE_BY: [*told(preference), {"transform": transform, **about}]}
    )


def told(preference: Preference) -> list[Mapping[str, Any]]:
    """What transforms did to the record, in order; empty for a record as it was read."""
    return list(preference.extra.get(MADE_BY, ()))


def only_pair(preference: Preference, winner: int, loser: int) -> Preference:
    """The record reduced to two of its responses, the first preferred; what is known of them stays with them."""

    def both(x: Any) -> Any:
        return None if x is None else (x[winner], x[loser])

    return replace(
        preference,
        responses=both(preference.responses),
        comparisons=(Comparison(0, 1),),
        scores=both(preference.scores),
        labels=both(preference.labels),
        attributes=both(preference.attributes),
        step_labels=both(preference.step_labels),
    )


def worths(preference: Preference) -> list[float] | None:
    """How good each response is: its score, or without scores how many of the record's comparisons it wins (½ for a
    tie, p for a soft one); None where neither says anything of two responses."""
    if preference.scores is not None and all(s is not None for s in preference.scores):
        return [float(s) for s in preference.scores if s is not None]
    if not preference.comparisons:
        return None
    wins = [0.0] * len(preference.responses)
    for winner, loser, p, _ in preference.pairs():
        wins[winner] += p
        wins[loser] += 1 - p
    return wins
