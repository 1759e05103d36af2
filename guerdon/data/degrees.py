"""Responses of several degrees of preference: one response, and copies that lose more and more of what it says."""

import math
import re
from collections import Counter
from collections.abc import Sequence

import torch

from guerdon.batch import Comparison, Message, Preference, Seed
from guerdon.data.provenance import noted, worths
from guerdon.errors import DataError

WORD = re.compile(r"\w+(?:['’]\w+)*")
_STOP = """
a about above after again against all also am an and any are as at be because been before being below between
both but by can could did do does doing down during each few for from further had has have having he her here
hers him his how i if in into is it its itself just me more most my no nor not now of off on once only or other
our out over own same she should so some such than that the their them then there these they this those through
to too under until up very was we were what when where which while who whom why will with would you your
"""
STOP_WORDS = frozenset(_STOP.split())
"""Never deleted: without them a text is broken, not worse. Negations stand here too, as deleting one turns a meaning
round."""

Words = tuple[int, ...]
"""Numbers of the words of a text, in the order of ``WORD``."""


def key_phrases(text: str, most: int = 4) -> list[Words]:
    """The text's key phrases, most important first: every place of each, as numbers of its words.

    A phrase is a run of at most ``most`` words between stop words and punctuation (RAKE, Rose et al. 2010). A word's
    weight is degree / frequency, the degree being the summed length of the phrases it stands in; a phrase weighs as
    much as its words together, and equal ones come in the order of the text. The paper names no extractor; this one
    needs no data and no model.
    """
    found = list(WORD.finditer(text))
    words = [m.group().casefold() for m in found]
    runs: list[list[int]] = [[]]
    for i, word in enumerate(words):
        between = text[found[i - 1].end() : found[i].start()] if i else ""
        if word in STOP_WORDS:
            runs.append([])
        elif between.strip() or len(runs[-1]) == most:
            runs.append([i])
        else:
            runs[-1].append(i)
    runs = [run for run in runs if run]
    frequency = Counter(words[i] for run in runs for i in run)
    degree = Counter[str]()
    for run in runs:
        for i in run:
            degree[words[i]] += len(run)
    weight: dict[tuple[str, ...], float] = {}
    places: dict[tuple[str, ...], list[int]] = {}
    for run in runs:
        phrase = tuple(words[i] for i in run)
        weight[phrase] = sum(degree[w] / frequency[w] for w in phrase)
        places.setdefault(phrase, []).extend(run)
    return [tuple(places[p]) for p in sorted(places, key=lambda p: -weight[p])]


def graded(text: str, degrees: int = 3, control: Seed | None = None) -> list[str]:
    """[ỹ_0 … ỹ_M]: the text, and the text without its first ⌈j|K|/M⌉ key phrases for j = 1 … M (Li et al. 2024,
    2409.17791); what ỹ_{j+1} says, ỹ_j says too.

    degrees: M, at most |K|, the number of key phrases (more would give two degrees one text); a text without any comes
    back alone. control: a seed with which as many words as degree j loses are drawn from the words that are in *no* key
    phrase instead (and from key words only where none is left), so that texts are as long but keep their content: the
    head must not tell the degree by length.
    """
    keys = key_phrases(text)
    degrees = min(degrees, len(keys))
    cuts = [sum(keys[: math.ceil(j * len(keys) / degrees)], ()) for j in range(1, degrees + 1)]
    if control is not None:
        inside = {i for key in keys for i in key}
        order = torch.randperm(len(WORD.findall(text)), generator=control.child("control").torch()).tolist()
        order = sorted(order, key=lambda i: i in inside)
        cuts = [tuple(order[: len(cut)]) for cut in cuts]
    return [text, *(without(text, cut) for cut in cuts)]


def without(text: str, words: Words) -> str:
    """The text without these words, each with the blanks before it (those behind it, where a line begins)."""
    gone = set(words)
    kept, at = "", 0
    for start, end in (m.span() for i, m in enumerate(WORD.finditer(text)) if i in gone):
        before = kept + text[at:start]
        kept = before.rstrip(" \t")
        at = end
        if kept == before:
            at += len(text[end:]) - len(text[end:].lstrip(" \t"))
    return (kept + text[at:]).strip() if gone else text


def with_degrees(records: Sequence[Preference], degrees: int = 3, control: int | None = None) -> list[Preference]:
    """Every pair with the graded copies of its preferred response behind it: responses (y_w, y_l, ỹ_1, …, ỹ_M), whose
    only comparison is that of the pair; copies are never shown to the pair's own loss. Their scores are degrees alone
    (0, −1, … for y_w, ỹ_1, …; the lowest for y_l), so that 'lists' of them keep the order.

    A record with scores and no comparison is the pair of its best and its worst response. A record whose preferred
    response has no key phrase keeps its pair alone. control: a seed of length-matched
    deletions instead (``graded``). Provenance: transform 'with_degrees' with M as it was made and control. Raises
    DataError where there is no pair, or degrees < 1.
    """
    if degrees < 1:
        raise DataError(f"with_degrees needs degrees ≥ 1, but {degrees} came.")
    made = []
    for number, record in enumerate(records):
        for winner, loser, p, weight in _pairs(record):
            if p <= 0.5:
                continue
            seed = None if control is None else Seed(control).child("record", number)
            copies = graded(record.response_text(winner), degrees, seed)[1:]
            pair = Preference(
                record.prompt,
                (record.responses[winner], record.responses[loser], *((Message.of("assistant", t),) for t in copies)),
                (Comparison(0, 1, p, weight),),
                scores=(0.0, -1.0 - len(copies), *(-1.0 - j for j in range(len(copies)))),
                extra=record.extra,
                source=record.source,
            )
            made.append(noted(pair, "with_degrees", degrees=len(copies), control=control))
    if not made:
        raise DataError("Comparisons were expected, but the records hold none; give chosen and rejected responses.")
    return made


def _pairs(record: Preference) -> tuple[tuple[int, int, float, float], ...]:
    """The record's own comparisons, or its best against its worst response by score."""
    worth = None if record.comparisons else worths(record)
    if worth is None or max(worth) == min(worth):
        return record.pairs()
    return ((worth.index(max(worth)), worth.index(min(worth)), 1.0, 1.0),)
