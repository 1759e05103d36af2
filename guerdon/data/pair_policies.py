"""Which responses become a pair: the policies compared in *More is Less* (Wang et al. 2025, 2504.02193).

Every policy is a pure transform over records and leaves its name in their provenance. Where two writers stand on the
two sides, style separates them, and a policy may lower its loss by style alone (``audit.separability``); pairs of one
writer leave quality to be learned.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from guerdon.batch import Comparison, Message, Preference
from guerdon.data.provenance import noted, only_pair
from guerdon.data.records import is_empty
from guerdon.data.views import together
from guerdon.errors import DataError

WRITERS = "writers"
"""Column of ``extra`` that names who wrote each response."""

PairPolicy = Callable[[Sequence[Preference]], list[Preference]]


def pooled(sets: Mapping[str, Sequence[Preference]]) -> list[Preference]:
    """Records of several writers as one record a prompt with all their responses: writer -> that writer's records.

    The column ``writers`` says who wrote each response. Comparisons, scores and columns of the records are kept as
    ``together`` keeps them.
    """
    apart = [(writer, record) for writer, records in sets.items() for record in records]
    named = [
        replace(record, extra={**record.extra, WRITERS: (i, writer, len(record.responses))})
        for i, (writer, record) in enumerate(apart)  # the number keeps equal values of several records apart
    ]
    return [replace(r, extra={**r.extra, WRITERS: _flat(r.extra[WRITERS])}) for r in together(named)]


def _flat(found: Any) -> tuple[str, ...]:
    """The writer of each response from (number, writer, responses) of one record, or a list of several."""
    members = found if isinstance(found, list) else [found]
    return tuple(writer for _, writer, responses in members for _ in range(responses))


def writers_of(record: Preference) -> tuple[str, ...]:
    """Who wrote each response. Raises DataError where the record does not say so."""
    found = record.extra.get(WRITERS)
    if not isinstance(found, list | tuple) or len(found) != len(record.responses):
        raise DataError(
            f"{record.source or 'a record'}: the column {WRITERS!r} must name the writer of each of the "
            f"{len(record.responses)} responses; make such records with pooled()."
        )
    return tuple(str(name) for name in found)


def best_against_worst(
    records: Sequence[Preference], writers: Sequence[str] | None = None, policy: str = "all+rm"
) -> list[Preference]:
    """One pair a record: the response of the highest score against that of the lowest, among ``writers`` (None: all).

    The first of equal scores is taken. A record gives no pair where fewer than two responses are left, their scores are
    all equal, or both texts are the same. The margin is the difference of the scores. Raises DataError for a response
    without a score.
    """
    made = []
    for record in records:
        names = writers_of(record)
        rows = [i for i, name in enumerate(names) if writers is None or name in writers]
        rows = [i for i in rows if not is_empty(record.responses[i])]
        scores = {i: _score(record, i) for i in rows}
        if len(rows) > 1 and max(scores.values()) > min(scores.values()):
            best, worst = max(rows, key=lambda i: scores[i]), min(rows, key=lambda i: scores[i])
            made += _paired(record, names, best, worst, policy, scores[best] - scores[worst])
    return made


def writer_against_writer(
    records: Sequence[Preference], chosen: str, rejected: str, policy: str | None = None
) -> list[Preference]:
    """One pair a record: the first response of ``chosen`` against the first of ``rejected``, whatever their scores.
    Where the record compares responses of ``chosen``, the one that wins is taken. Records without both writers, or in
    which both wrote the same, give none."""
    made = []
    for record in records:
        names = writers_of(record)
        won = {w for w, _, p, _ in record.pairs() if p > 0.5}
        rows = [i for i in range(len(names)) if not is_empty(record.responses[i])]
        ours = sorted((i for i in rows if names[i] == chosen), key=lambda i: i not in won)
        theirs = [i for i in rows if names[i] == rejected]
        if ours and theirs:
            made += _paired(record, names, ours[0], theirs[0], policy or f"{chosen}+{rejected}", None)
    return made


def pair_policies(own: str = "self", human: str = "human", strong: str = "strong") -> dict[str, PairPolicy]:
    """The paper's policies by name, over ``pooled`` records; own: the policy's samples, human: the data set's chosen
    responses, strong: a stronger model's.

    self+rm: the policy's best against its worst by score. hc+self, stronger+self: the other writer's response is
    chosen and the policy's rejected, unseen. stronger+self+rm: the score decides between those two writers. all+rm: the
    best against the worst of everyone.
    """
    return {
        "self+rm": lambda records: best_against_worst(records, (own,), "self+rm"),
        "hc+self": lambda records: writer_against_writer(records, human, own, "hc+self"),
        "stronger+self": lambda records: writer_against_writer(records, strong, own, "stronger+self"),
        "stronger+self+rm": lambda records: best_against_worst(records, (strong, own), "stronger+self+rm"),
        "all+rm": lambda records: best_against_worst(records, None, "all+rm"),
    }


def _score(record: Preference, i: int) -> float:
    score = None if record.scores is None else record.scores[i]
    if score is None:
        raise DataError(
            f"{record.source or 'a record'}: response {i + 1} has no score, but this policy ranks by it; score the "
            "records first."
        )
    return score


def _said(response: Sequence[Message]) -> list[object]:
    """All that a response holds, white space aside."""
    parts = [part for message in response for part in message.parts]
    return [(p.kind, p.value.split() if p.kind == "text" else p.value) for p in parts]


def _paired(
    record: Preference, names: Sequence[str], best: int, worst: int, policy: str, margin: float | None
) -> list[Preference]:
    """The pair with its provenance, or nothing where both sides say the same."""
    sides = record.responses[best], record.responses[worst]
    if _said(sides[0]) == _said(sides[1]):
        return []
    pair = replace(
        only_pair(record, best, worst),
        comparisons=(Comparison(0, 1, margin=margin),),
        extra={**record.extra, WRITERS: (names[best], names[worst])},
    )
    return [noted(pair, "pair_policy", policy=policy, writers=(names[best], names[worst]))]
