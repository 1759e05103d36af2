"""Repeated word n-grams."""

from dataclasses import dataclass

from guerdon.batch import Samples, Scores
from guerdon.errors import GuerdonError
from guerdon.rewards.interface import Context, Reward, State
from guerdon.rewards.rules.common import scores


def repeated_share(text: str, size: int) -> float:
    """1 − distinct n-grams / n-grams of lower-case words; 0 for a text of fewer than ``size`` words, the empty one
    included."""
    words = text.lower().split()
    grams = list(zip(*(words[k:] for k in range(size)), strict=False))
    return 1.0 - len(set(grams)) / len(grams) if grams else 0.0


@dataclass(frozen=True)
class Repetition(Reward):
    """``penalty`` (≤ 0) times the share of repeated n-grams: 0 for no repetition, near ``penalty`` for one phrase over
    and over.

    As in "Demystifying Long Chain-of-Thought Reasoning" (arXiv 2502.03373, appendix).
    """

    size: int = 3
    penalty: float = -1.0
    name: str = "repetition"

    def __post_init__(self) -> None:
        if self.size < 1 or self.penalty > 0:
            raise GuerdonError(f"Repetition needs size >= 1 and penalty <= 0, but {self.size} and {self.penalty} came.")

    def score(self, samples: Samples, state: State, context: Context) -> tuple[Scores, State]:
        """One number a row."""
        return scores(self.name, [self.penalty * repeated_share(r, self.size) for r in samples.texts()]), state
