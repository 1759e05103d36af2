"""Mathematical answers, compared by math-verify in worker processes that can be killed (no alarms)."""

import functools
import logging
import re
from dataclasses import dataclass
from typing import Any

import torch

from guerdon.batch import Channel, Samples, Scores, Status
from guerdon.rewards.interface import Context, Reward, State
from guerdon.rewards.rules.format import answer_in
from guerdon.rewards.workers import Outcome, Workers

OK, WRONG_GOLD = "ok", "gold"


@dataclass(frozen=True)
class MathAnswer(Reward):
    """1 where the response's final answer equals the column's mathematically, else 0; one score a row.

    A gold answer that cannot be parsed is NOT_APPLICABLE (the data set is at fault, not the response); a comparison
    that hangs (``timeout_s``, per row, from its own start) or crashes is FAILED with a note; a response without an
    answer scores 0. tags: read only what stands in the last ``<answer>`` tag, where there is one. The last expression
    counts, so a verdict planted first does not. Needs the package math-verify.
    """

    column: str = "answer"
    timeout_s: float = 5.0
    workers: int = 1
    tags: bool = True
    name: str = "math_answer"

    @property
    def needs(self) -> tuple[str, ...]:  # type: ignore[override]
        """The column."""
        return (self.column,)

    def score(self, samples: Samples, state: State, context: Context) -> tuple[Scores, State]:
        """One number a row."""
        gold, pool = samples.column(self.column), _pool(self.workers)
        said = [(answer_in(r) or r) if self.tags else r for r in samples.texts()]
        pending = [
            pool.submit(verify, str(g), s, timeout_s=self.timeout_s) if g is not None else None
            for g, s in zip(gold, said, strict=True)
        ]
        rows = [_row(None if f is None else f.result()) for f in pending]
        status = torch.tensor([s for _, s, _ in rows], dtype=torch.int8)
        channel = Channel(torch.tensor([v for v, _, _ in rows]), status, note=[n for _, _, n in rows])
        return Scores({self.name: channel}), state


def verify(gold: str, response: str) -> tuple[str, float]:
    """('ok', 1 or 0), or ('gold', 0) where the gold answer cannot be parsed. Runs in a worker, without a limit of its
    own."""
    from math_verify import parse
    from math_verify import verify as equal

    logging.getLogger("math_verify").setLevel(logging.ERROR)  # it warns that the limit is ours to set; it is set
    text = gold.rpartition("####")[2].strip()  # GSM8K keeps the answer behind '####'
    bare = re.search(r"[\d\\^_+*/=(\[]", text) and "$" not in text and "boxed" not in text
    reference = parse(plain_signs(text), parsing_timeout=None) or (
        parse(f"${plain_signs(text)}$", parsing_timeout=None) if bare else []
    )
    if not reference:
        return WRONG_GOLD, 0.0
    answer = parse(plain_signs(response), parsing_timeout=None) if response.strip() else []
    return OK, float(bool(answer) and bool(equal(reference, answer, timeout_seconds=None)))


def plain_signs(text: str) -> str:
    """The Unicode minus as '-', and no '+' in front of a number that nothing precedes: '+5' is 5."""
    return re.sub(r"(?:(?<=^)|(?<=[\s$({=:]))\+(?=[\d.])", "", text.replace("\u2212", "-"))


@functools.lru_cache(maxsize=4)
def _pool(count: int) -> Workers:
    return Workers(count)


def _row(outcome: Outcome | None) -> tuple[float, int, str]:
    lost: Any = float("nan")
    if outcome is None:
        return lost, int(Status.NOT_APPLICABLE), "no gold answer"
    if outcome.status != "ok":
        return lost, int(Status.FAILED), outcome.note
    kind, value = outcome.value
    if kind == WRONG_GOLD:
        return lost, int(Status.NOT_APPLICABLE), "the gold answer cannot be parsed"
    return value, int(Status.OK), ""
