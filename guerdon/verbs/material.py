"""Preference records as what a method reads: pairs, lists, labelled rows, rewritings."""

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate, pairwise
from typing import Any

import torch

from guerdon.batch import Lists, Message, Pairs, Preference, Samples, Seed
from guerdon.decoding import REWRITE
from guerdon.errors import DataError
from guerdon.objectives.srpo import ROLES
from guerdon.training import Recorded, Unpaired, mismatched
from guerdon.training.steps import with_lines
from guerdon.verbs.preferences import Records
from guerdon.verbs.unfinished import encode_turns
from guerdon.worlds.text import Encoded, pad_rows

REWRITTEN = len(ROLES)
"""Columns of a rewritten list, in the order of ``ROLES``: a|b is response a after an answer b and ``REWRITE``."""

Row = tuple[Preference, int]
"""A record and the number of one of its responses."""


def source_of(
    reads: str, records: Records, tokenizer: Any, context: int | None, per_round: int, seed: Seed, ordered: bool = False
) -> Recorded | Unpaired:
    """The records as a source of ``reads`` (``methods.READS``, without 'prompts'), the chat template honoured; a long
    prompt loses its start. ordered: items are visited as they stand.

    Raises DataError naming the record whose response does not fit the context, or that lacks what the method reads.
    """
    made = _Rows(tokenizer, context)
    order = None if ordered else seed
    match reads:
        case "pairs" | "scored":
            return _pairs(made, records, per_round, order, reads == "scored")
        case "lists":
            return _lists(made, records, per_round, order)
        case "unpaired":
            return _unpaired(made, records, per_round, order)
        case _:
            return _rewritten(made, records, per_round, order)


def items(reads: str, records: Records) -> list[tuple[int, ...]]:
    """The rows that every item of ``source_of`` brings, by number."""
    match reads:
        case "lists":
            ends = list(accumulate((len(values) for _, values in rated(records)), initial=0))
            return [tuple(range(a, b)) for a, b in pairwise(ends)]
        case "unpaired":
            return [(2 * i, 2 * i + 1) for i in range(len(labelled(records)))]
        case "rewritten":
            count = sum(p > 0.5 for r in records for _, _, p, _ in r.pairs())
            return [tuple(range(REWRITTEN * i, REWRITTEN * (i + 1))) for i in range(count)]
    found: list[tuple[int, ...]] = []
    first = 0
    for record in records:
        found += [(first + w, first + l) for w, l, _, _ in record.pairs()]
        first += len(record.responses)
    return found


class _Rows:
    """Encodes (record, response) rows and makes samples of them."""

    def __init__(self, tokenizer: Any, context: int | None) -> None:
        self.tokenizer, self.context = tokenizer, context

    def encode(self, row: Row, before: Sequence[Message] = ()) -> Encoded:
        """One response after its prompt and the messages ``before`` it."""
        record, i = row
        source = f"{record.source or 'a record'}, response {i + 1}"
        prompt = (*record.prompt, *before)
        return encode_turns(self.tokenizer, prompt, record.responses[i], max_length=self.context, source=source)

    def samples(self, rows: Sequence[Row], encoded: Sequence[Encoded], scored: bool = False) -> Samples:
        """Recorded rows, all of them whole; with ``scored`` their column 'score'."""
        return Samples(
            pad_rows(encoded, self.tokenizer),
            [r.prompt_text for r, _ in rows],
            [r.response_text(i) for r, i in rows],
            terminated=torch.ones(len(rows), dtype=torch.bool),
            columns={"score": [_score(row) for row in rows]} if scored else {},
        )


def _score(row: Row) -> float:
    record, i = row
    score = None if record.scores is None else record.scores[i]
    if score is None or not math.isfinite(score):
        raise DataError(
            f"The method reads scores, but response {i + 1} of {record.source or 'a record'} has none; give "
            "score_chosen and score_rejected, or scores."
        )
    return score


def _pairs(made: _Rows, records: Records, per_round: int, seed: Seed | None, scored: bool) -> Recorded:
    """Comparisons; margins and scores only for the methods that ask for them, so that plain DPO stays plain."""
    rows: list[Row] = []
    found: list[tuple[int, int, float, float, float]] = []
    for record in records:
        first = len(rows)
        rows += [(record, i) for i in range(len(record.responses))]
        margins = [c.margin or 0.0 if scored else 0.0 for c in record.comparisons]
        compared = zip(record.pairs(), margins, strict=True)
        found += [(first + w, first + l, p, weight, margin) for (w, l, p, weight), margin in compared]
    if not found:
        raise DataError("Comparisons were expected, but the records hold none; give chosen and rejected responses.")
    winner, loser, preferred, weight, margin = (torch.tensor(x) for x in zip(*found, strict=True))
    pairs = Pairs(winner, loser, preferred.float(), margin.float(), weight.float())
    samples = made.samples(rows, [made.encode(row) for row in rows], scored)
    return Recorded(samples, min(per_round, len(found)), pairs, seed=seed)


def rated(records: Records) -> list[tuple[Preference, list[float]]]:
    """Records with a value for each of two or more responses: their scores, or, without scores, how many of the
    record's own comparisons each response wins."""
    out = []
    for r in records:
        if r.scores is not None and all(s is not None for s in r.scores):
            values = [float(s) for s in r.scores if s is not None]
        else:
            values = [0.0] * len(r.responses)
            for w, l, p, _ in r.pairs():
                values[w] += p
                values[l] += 1 - p
        if len(r.responses) > 1 and (r.comparisons or r.scores is not None) and len(set(values)) > 1:
            out.append((r, values))
    return out


def _lists(made: _Rows, records: Records, per_round: int, seed: Seed | None) -> Recorded:
    kept = rated(records)
    if not kept:
        raise DataError("Responses rated beside each other were expected, but no record holds two of different worth.")
    widest = max(len(values) for _, values in kept)
    rows = [(r, i) for r, _ in kept for i in range(len(r.responses))]
    at, number, value = 0, [], []
    for _, values in kept:
        gap = widest - len(values)
        number.append([*range(at, at + len(values)), *[-1] * gap])
        value.append([*values, *[0.0] * gap])
        at += len(values)
    lists = Lists(torch.tensor(number), torch.tensor(value))
    samples = made.samples(rows, [made.encode(row) for row in rows])
    samples = replace(samples, payload=with_lines(samples.payload, made.tokenizer))  # TPO compares responses by lines
    return Recorded(samples, min(per_round, len(lists)), seed=seed, lists=lists)


def labelled(records: Records) -> list[tuple[Preference, int, bool]]:
    """(record, response, desirable): labels where there are any, else both sides of every comparison that is no tie."""
    out: list[tuple[Preference, int, bool]] = []
    for r in records:
        if r.labels is not None:
            out += [(r, i, bool(label)) for i, label in enumerate(r.labels) if label is not None]
        else:
            out += [(r, i, good) for w, l, p, _ in r.pairs() if p > 0.5 for i, good in ((w, True), (l, False))]
    return out


def _unpaired(made: _Rows, records: Records, per_round: int, seed: Seed | None) -> Unpaired:
    kept = labelled(records)
    if not kept:
        raise DataError("Labelled responses were expected, but the records hold neither labels nor comparisons.")
    rows = [(r, i) for r, i, _ in kept]
    own = [made.encode(row) for row in rows]
    other = mismatched([r.prompt_text for r, _ in rows]).tolist()
    crossed = [made.encode((_with_response(r, *rows[j]), 0)) for (r, _), j in zip(rows, other, strict=True)]
    samples = made.samples([*rows, *((r, 0) for r, _ in rows)], [*own, *crossed])
    return Unpaired(samples, torch.tensor([good for _, _, good in kept]), min(per_round, len(kept)), seed)


def _with_response(record: Preference, other: Preference, i: int) -> Preference:
    return Preference(record.prompt, (other.responses[i],), source=record.source)


def _rewritten(made: _Rows, records: Records, per_round: int, seed: Seed | None) -> Recorded:
    """Six rows a comparison that is no tie; the label, where one is soft, and its weight come along."""
    rows: list[Row] = []
    encoded: list[Encoded] = []
    label: list[list[float]] = []
    weights: list[float] = []
    for r in records:
        for w, l, p, weight in r.pairs():
            if p <= 0.5:
                continue
            for answer, previous in ((w, None), (l, None), (w, l), (l, l), (w, w), (l, w)):
                before = () if previous is None else (*r.responses[previous], Message.of("user", REWRITE))
                rows.append((r, answer))
                encoded.append(made.encode((r, answer), before))
            label.append([p if role[0] == "w" else 1 - p for role in ROLES])
            weights.append(weight)
    if not rows:
        raise DataError("Comparisons were expected, but the records hold none; give chosen and rejected responses.")
    soft = any(v[0] < 1 for v in label)
    lists = Lists(
        torch.arange(len(rows)).view(-1, REWRITTEN), torch.tensor(label) if soft else None, torch.tensor(weights)
    )
    return Recorded(made.samples(rows, encoded), min(per_round, len(lists)), seed=seed, lists=lists)
