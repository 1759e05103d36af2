"""What the rules share: text normalisation, and rows of numbers as Scores."""

import string
import unicodedata
from collections.abc import Sequence

from guerdon.batch import Scores
from guerdon.rewards.functions import channel_of

NORMALISATIONS = ("none", "space", "loose")


def normalised(text: str, how: str = "space") -> str:
    """'none': as it came. 'space': NFC, ends stripped, inner runs of white space as one blank. 'loose': also lower
    case, without punctuation and English articles."""
    if how == "none":
        return text
    text = " ".join(unicodedata.normalize("NFC", text).split())
    if how == "space":
        return text
    kept = "".join(" " if c in string.punctuation else c for c in text.casefold())
    return " ".join(w for w in kept.split() if w not in ("a", "an", "the"))


def scores(name: str, values: Sequence[float | None], notes: Sequence[str] | None = None) -> Scores:
    """One channel from numbers, None for 'not applicable'."""
    return Scores({name: channel_of(values, notes)})
