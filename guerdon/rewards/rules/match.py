"""Agreement of a response with a column of the data set: equal, containing, or matching a pattern."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from guerdon.batch import Samples, Scores
from guerdon.errors import GuerdonError
from guerdon.rewards.interface import Context, Reward, State
from guerdon.rewards.rules.common import NORMALISATIONS, normalised, scores


@dataclass(frozen=True)
class Match(Reward):
    """1 where the response matches, else 0; NOT_APPLICABLE where the column is None or ''.

    how 'exact': equal to the column after ``normalise`` ('none', 'space', 'loose'; see ``common.normalised``).
    'contains': the column's text stands in the response as whole words. 'regex': the column is a pattern found anywhere
    in the response (Python's re, as it came). A column holding a list is satisfied by any of its entries.
    """

    column: str = "answer"
    how: str = "exact"
    normalise: str = "space"
    name: str = "match"

    def __post_init__(self) -> None:
        if self.how not in ("exact", "contains", "regex"):
            raise GuerdonError(f"Match.how must be 'exact', 'contains' or 'regex', but {self.how!r} came.")
        if self.normalise not in NORMALISATIONS:
            raise GuerdonError(f"Match.normalise must be one of {NORMALISATIONS}, but {self.normalise!r} came.")

    @property
    def needs(self) -> tuple[str, ...]:  # type: ignore[override]
        """The column."""
        return (self.column,)

    def score(self, samples: Samples, state: State, context: Context) -> tuple[Scores, State]:
        """One number a row."""
        wanted = samples.column(self.column)
        return scores(self.name, [self._one(r, w) for r, w in zip(samples.texts(), wanted, strict=True)]), state

    def _one(self, response: str, wanted: Any) -> float | None:
        options = [wanted] if wanted is None or isinstance(wanted, str) or not isinstance(wanted, Sequence) else wanted
        texts = [str(w) for w in options if w is not None and str(w) != ""]
        return float(any(self._matches(response, t) for t in texts)) if texts else None

    def _matches(self, response: str, wanted: str) -> bool:
        if self.how == "regex":
            return re.search(wanted, response) is not None
        said, text = normalised(response, self.normalise), normalised(wanted, self.normalise)
        if self.how == "exact":
            return said == text
        return bool(text) and re.search(rf"(?<!\w){re.escape(text)}(?!\w)", said) is not None
