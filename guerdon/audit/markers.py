"""What gives a side of a pair away: single words that stand on one side only, and texts of equal length to look at."""

from collections import Counter
from dataclasses import dataclass

from guerdon.audit.pairs import DecidedPairs
from guerdon.audit.texts import split_words

STANDS_OUT = 4.0
"""Standard errors from which a word is named: among ten thousand words chance alone gives about one."""


@dataclass(frozen=True)
class Marker:
    """A word. chosen, rejected: share of the pairs in which it stands on that side alone. z: their difference in
    standard errors of a coin."""

    word: str
    chosen: float
    rejected: float
    z: float


def markers(pairs: DecidedPairs, most: int = 5, limit: int = 400) -> tuple[Marker, ...]:
    """The ``most`` words whose presence tells chosen from rejected, by the sign test over pairs in which one side alone
    has the word; none where no word stands out. limit: words of each text that are looked at."""
    words = [frozenset(split_words(text)[:limit]) for text in pairs.texts]
    chosen: Counter[str] = Counter()
    rejected: Counter[str] = Counter()
    for w, l in zip(pairs.winner.tolist(), pairs.loser.tolist(), strict=True):
        chosen.update(words[w] - words[l])
        rejected.update(words[l] - words[w])
    n = len(pairs)
    found = []
    for word in chosen.keys() | rejected.keys():
        a, b = chosen[word], rejected[word]
        z = (a - b) / (a + b) ** 0.5
        if abs(z) >= STANDS_OUT:
            found.append(Marker(word, a / n, b / n, z))
    found.sort(key=lambda m: (-abs(m.z), m.word))
    return tuple(found[:most])


def equal_lengths(pairs: DecidedPairs) -> list[str]:
    """The texts of the pairs, all that are compared with each other cut to the words of the shortest, so that a probe
    sees no length."""
    words = [text.split() for text in pairs.texts]
    room = [len(found) for found in words]
    compared = list(zip(pairs.winner.tolist(), pairs.loser.tolist(), strict=True))
    changed = True
    while changed:  # one round where every text stands in one pair, as many as the longest chain of pairs otherwise
        changed = False
        for w, l in compared:
            if room[w] != room[l]:
                room[w] = room[l] = min(room[w], room[l])
                changed = True
    return [" ".join(found[:n]) for found, n in zip(words, room, strict=True)]
