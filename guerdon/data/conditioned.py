"""Reward-augmented data: every scored pair twice, each time asked for the quality that one of its sides has."""

import math
from collections.abc import Sequence
from dataclasses import replace

from guerdon.batch import Comparison, Message, Preference
from guerdon.data.provenance import noted, only_pair
from guerdon.errors import DataError

REQUEST = "Write a response whose overall quality, on a scale from {low} to {high}, is {goal}."
PLACES = ("system", "user")


def conditioned(
    prompt: Sequence[Message], goal: float, low: float = 1, high: float = 10, where: str = "system"
) -> tuple[Message, ...]:
    """The prompt with the request for a response of score ``goal``; training and inference must use this one function.

    where: 'system' puts it before the text of the system message, which is added where there is none; 'user' before the
    last user turn's text (for templates without a system role). Numbers are written by ``number``. Raises DataError
    for another ``where``, or where there is no user turn to put it.
    """
    request = Message.of("system", REQUEST.format(low=number(low), high=number(high), goal=number(goal)))
    if where not in PLACES:
        raise DataError(f"conditioned(where=…) must be 'system' or 'user', but {where!r} came.")
    at = next((i for i in range(len(prompt) - 1, -1, -1) if prompt[i].role == where), None)
    if at is None:
        if where == "user":
            raise DataError("The goal was to stand before a user turn, but the prompt has none; use where='system'.")
        return (request, *prompt)
    said = prompt[at]
    before = Message.of(where, request.text + "\n\n").parts
    return (*prompt[:at], Message(where, (*before, *said.parts)), *prompt[at + 1 :])


def number(value: float) -> str:
    """A score as text: at most one decimal, and none where it is whole (8, never 8.0)."""
    rounded = round(value, 1)
    return str(int(rounded)) if rounded == int(rounded) else str(rounded)


def reward_augmented(
    records: Sequence[Preference], low: float | None = None, high: float | None = None, where: str = "system"
) -> list[Preference]:
    """From (x, y_w, y_l) with scores r_w > r_l two records: (x ⊕ r_w, y_w ≻ y_l) and (x ⊕ r_l, y_l ≻ y_w)
    (Zhang et al. 2024, 2410.08067). Under the goal g the better response is the one whose score is nearer to g.

    low, high: the judge's scale; None: 1 to 10, the paper's, where every compared score lies in it, else the smallest
    and the largest of them. Left out: pairs whose scores are the same *as written* (their two copies would contradict
    each other), pairs whose winner has the lower score, and ties. Margins are dropped: they were those of the
    unconditioned pair. At inference ask ``conditioned(prompt, high, low, high)``. Provenance: transform
    'reward_augmented' with goal and scale.

    Raises DataError where a compared response has no score, or one outside the given scale, naming the record; or where
    nothing is left.
    """
    pairs = [(record, pair) for record in records for pair in record.pairs()]
    found = [(_score(record, w), _score(record, l)) for record, (w, l, _, _) in pairs]
    low, high = _scale([r for both in found for r in both], low, high)
    made = []
    for (record, (winner, loser, p, weight)), (better, worse) in zip(pairs, found, strict=True):
        if not low <= min(better, worse) <= max(better, worse) <= high:
            raise DataError(
                f"{record.source or 'a record'} has the scores {better:g} and {worse:g}, but the scale was said to be "
                f"{low:g} to {high:g}; name the judge's scale by low and high."
            )
        if p <= 0.5 or better < worse or number(better) == number(worse):
            continue
        for goal, first, second in ((better, winner, loser), (worse, loser, winner)):
            asked = replace(
                only_pair(record, first, second),
                prompt=conditioned(record.prompt, goal, low, high, where),
                comparisons=(Comparison(0, 1, p, weight),),
            )
            made.append(noted(asked, "reward_augmented", goal=goal, low=low, high=high))
    if not made:
        raise DataError("No pair is left: there is none, its scores are equal, or its winner has the lower one.")
    return made


def _scale(scores: Sequence[float], low: float | None, high: float | None) -> tuple[float, float]:
    usual = all(1 <= r <= 10 for r in scores)
    return (
        low if low is not None else 1.0 if usual else min(scores),
        high if high is not None else 10.0 if usual else max(scores),
    )


def _score(record: Preference, i: int) -> float:
    score = None if record.scores is None else record.scores[i]
    if score is None or not math.isfinite(score):
        raise DataError(
            f"Reward-augmented data needs scores, but response {i + 1} of {record.source or 'a record'} has none; give "
            "score_chosen and score_rejected."
        )
    return float(score)
