"""SPO's graded copies of a response (card 148)."""

from itertools import pairwise

import pytest

from guerdon.batch import Preference, Seed
from guerdon.data import graded, key_phrases, told, with_degrees
from guerdon.data.degrees import STOP_WORDS, WORD
from guerdon.errors import DataError

TEXT = "The old lighthouse keeper was not at home, and the storm broke the great lamp. The storm had won."


def words(text: str) -> list[str]:
    return [m.group().casefold() for m in WORD.finditer(text)]


def test_key_phrases_lie_between_stop_words_and_punctuation():
    """Degrees: old lighthouse keeper 3·3, 'storm broke' and 'storm', 'great lamp' 2·2, home 1, won 1. storm has degree
    2 + 1 over 2 places, broke 2: 3.5."""
    found = [" ".join(words(TEXT)[i] for i in phrase) for phrase in key_phrases(TEXT)]
    assert found == ["old lighthouse keeper", "great lamp", "storm broke", "storm", "home", "won"]
    assert not {w for phrase in found for w in phrase.split()} & STOP_WORDS


def test_copies_lose_more_and_more():
    texts = graded(TEXT, 3)
    assert texts[0] == TEXT
    assert texts[1] == "The was not at home, and the storm broke the. The storm had won."
    left = [words(t) for t in texts]
    for more, less in pairwise(left):
        remaining = iter(more)
        assert len(less) < len(more) and all(w in remaining for w in less)  # a subsequence, in order
    assert words(texts[3]) == ["the", "was", "not", "at", "and", "the", "the", "the", "had"]


def test_no_more_degrees_than_phrases():
    assert graded("a storm", 4) == ["a storm", "a"]
    assert graded("it is not so", 4) == ["it is not so"]
    assert graded("", 3) == [""]


def test_the_control_is_as_short_and_keeps_the_content():
    plain, other = graded(TEXT, 3), graded(TEXT, 3, control=Seed(1))
    assert [len(words(t)) for t in plain] == [len(words(t)) for t in other]
    assert "lighthouse" in other[1] and "lamp" in other[1]
    assert graded(TEXT, 3, control=Seed(1)) == other
    left = [words(t) for t in other]
    for more, less in pairwise(left):
        remaining = iter(more)
        assert all(w in remaining for w in less)


def test_records_keep_their_pair_and_get_copies():
    record = Preference.pair("Where?", TEXT, "Nowhere.")
    (made,) = with_degrees([record], 2)
    assert [made.response_text(i) for i in range(2)] == [TEXT, "Nowhere."]
    assert [made.response_text(i) for i in (2, 3)] == graded(TEXT, 2)[1:]
    assert [(c.first, c.second) for c in made.comparisons] == [(0, 1)]
    assert made.scores == (0.0, -3.0, -1.0, -2.0)
    assert told(made)[-1] == {"transform": "with_degrees", "degrees": 2, "control": None}
    (bare,) = with_degrees([Preference.pair("Where?", "It is here.", "No.")], 2)
    assert len(bare.responses) == 2 and told(bare)[-1]["degrees"] == 0


def test_scores_alone_give_the_best_against_the_worst():
    made = Preference.pair("Where?", "Here.", "Nowhere.")
    record = Preference(
        made.prompt, (*made.responses, *Preference.pair("", TEXT, "").responses[:1]), (), (1.0, 0.5, 2.0)
    )
    (found,) = with_degrees([record], 1)
    assert [found.response_text(i) for i in (0, 1)] == [TEXT, "Nowhere."]
    with pytest.raises(DataError, match="Comparisons were expected"):
        with_degrees([Preference(made.prompt, made.responses, scores=(1.0, 1.0))])


def test_what_cannot_be_is_refused():
    with pytest.raises(DataError, match="degrees ≥ 1"):
        with_degrees([Preference.pair("a", "b", "c")], 0)
    with pytest.raises(DataError, match="Comparisons were expected"):
        with_degrees([])
