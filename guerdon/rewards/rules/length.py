"""Length of a response, and the soft punishment of overlong ones."""

from dataclasses import dataclass

from guerdon.batch import Samples, Scores, TokenRows
from guerdon.errors import GuerdonError, NeedsError
from guerdon.rewards.interface import Context, Reward, State
from guerdon.rewards.rules.common import scores

UNITS = ("characters", "words", "tokens")


def lengths(samples: Samples, unit: str) -> list[int]:
    """Length of each response: characters, white-space separated words, or sampled tokens (the end token counted).

    Raises NeedsError where tokens are asked for and the payload is not TokenRows.
    """
    if unit == "tokens":
        if not isinstance(samples.payload, TokenRows):
            raise NeedsError(
                "Length in tokens needs the sampled ids (TokenRows); count 'words' or 'characters' instead."
            )
        return [int(n) for n in samples.payload.response.sum(1)]
    return [len(r) if unit == "characters" else len(r.split()) for r in samples.texts()]


@dataclass(frozen=True)
class Length(Reward):
    """The length itself, in ``unit``: weigh it, pipe it, or bound it (``constrained(a, Length('words') <= 200)``)."""

    unit: str = "characters"
    name: str = "length"

    def __post_init__(self) -> None:
        _check(self.unit)

    def score(self, samples: Samples, state: State, context: Context) -> tuple[Scores, State]:
        """One number a row."""
        return scores(self.name, [float(n) for n in lengths(samples, self.unit)]), state


@dataclass(frozen=True)
class Overlong(Reward):
    """0 up to ``limit − cache``, then linearly down to −1 at ``limit``, −1 beyond (DAPO, arXiv 2503.14476, equation
    13)."""

    limit: int
    cache: int
    unit: str = "tokens"
    name: str = "overlong"

    def __post_init__(self) -> None:
        _check(self.unit)
        if not 0 < self.cache <= self.limit:
            raise GuerdonError(f"Overlong needs 0 < cache <= limit, but {self.cache} and {self.limit} came.")

    def score(self, samples: Samples, state: State, context: Context) -> tuple[Scores, State]:
        """One number a row, in [−1, 0]."""
        free = self.limit - self.cache
        over = [(free - n) / self.cache for n in lengths(samples, self.unit)]
        return scores(self.name, [max(-1.0, min(0.0, x)) for x in over]), state


def _check(unit: str) -> None:
    if unit not in UNITS:
        raise GuerdonError(f"A length's unit must be one of {UNITS}, but {unit!r} came.")
