"""The probe of *More is Less* (card 167): nothing in equal sides, everything in a marker, no length at equal length."""

from dataclasses import replace

from guerdon.audit import decided_pairs, separability
from guerdon.audit.markers import equal_lengths, markers
from guerdon.batch import Message, Preference
from tests.audit.planted import noise


def marked(records: list[Preference], word: str) -> list[Preference]:
    """The same pairs with a word added to the chosen side."""
    out = []
    for record in records:
        chosen, rejected = record.response_text(0), record.response_text(1)
        out.append(Preference.pair(record.prompt_text, f"{chosen} {word}", rejected))
    return out


def test_equal_sides_hold_no_marker_and_do_not_separate() -> None:
    pairs = decided_pairs(noise(300))
    assert markers(pairs) == ()
    found = separability(pairs)
    assert found.auc.low <= 0.5 <= found.auc.high and found.cut.low <= 0.5 <= found.cut.high


def test_a_marker_token_separates_wholly_and_is_named() -> None:
    found = separability(decided_pairs(marked(noise(200), "furthermore")))
    assert found.auc.estimate > 0.99
    first, *_ = found.markers
    assert (first.word, first.chosen, first.rejected) == ("furthermore", 1.0, 0.0)


def test_length_is_gone_at_equal_length() -> None:
    """Chosen responses twice as long, of the same words: length separates, equal beginnings do not."""
    long = [
        replace(r, responses=((Message.of("assistant", f"{r.response_text(0)} {r.response_text(1)}"),), r.responses[1]))
        for r in noise(300)
    ]
    found = separability(decided_pairs(long))
    assert found.length.low > 0.9
    assert found.cut.high < 0.65


def test_texts_are_cut_to_the_shortest_they_meet() -> None:
    record = Preference(
        (Message.of("user", "p"),),
        tuple((Message.of("assistant", text),) for text in ("a b c d", "e f g", "h i")),
        scores=(3.0, 2.0, 1.0),
    )
    assert equal_lengths(decided_pairs([record])) == ["a b", "e f", "h i"]
