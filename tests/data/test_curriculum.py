"""Curry-DPO's curriculum (card 183)."""

import pytest

from guerdon.batch import Comparison, Message, Preference
from guerdon.data import curriculum, told
from guerdon.errors import DataError


def ranked(prompt: str, *scores: float) -> Preference:
    """Responses r0, r1, … with these scores."""
    responses = tuple((Message.of("assistant", f"r{i}"),) for i in range(len(scores)))
    return Preference((Message.of("user", prompt),), responses, scores=scores, source=f"{prompt}:1")


def shown(records: list[Preference]) -> list[tuple[str, str, str, int]]:
    return [(r.prompt_text, r.response_text(0), r.response_text(1), told(r)[-1]["stage"]) for r in records]


def test_four_ranks_give_three_stages():
    """(R1,R4), (R1,R3), (R1,R2); the best here is r1, then r3, r0, r2."""
    made = curriculum([ranked("a", 5, 9, 1, 7)])
    assert shown(made) == [("a", "r1", "r2", 1), ("a", "r1", "r0", 2), ("a", "r1", "r3", 3)]
    assert [r.comparisons for r in made] == [(Comparison(0, 1),)] * 3
    assert made[0].scores == (9, 1) and made[0].source == "a:1"
    assert told(made[0]) == [{"transform": "curriculum", "stage": 1, "gap": 8.0}]


def test_gaps_never_grow_within_a_prompt_or_within_a_stage():
    made = curriculum([ranked("a", 4, 3, 2, 1), ranked("b", 10, 6, 5, 1), ranked("c", 9, 9, 2, 1)])
    assert [(r.prompt_text, told(r)[-1]["gap"]) for r in made] == [
        ("b", 9), ("c", 8), ("a", 3), ("c", 7), ("b", 5), ("a", 2), ("b", 4), ("a", 1)
    ]  # fmt: skip
    for prompt in "abc":
        gaps = [told(r)[-1]["gap"] for r in made if r.prompt_text == prompt]
        assert gaps == sorted(gaps, reverse=True)
    assert curriculum([ranked("a", 4, 3, 2, 1)], order="hard") == curriculum([ranked("a", 4, 3, 2, 1)])[::-1]
    kept = curriculum([ranked("a", 4, 1), ranked("b", 10, 1)], sort=False)
    assert [r.prompt_text for r in kept] == ["a", "b"]


def test_ties_are_dropped():
    """The two best of c are equal: they are no pair, and the others are compared with the first of them."""
    assert shown(curriculum([ranked("c", 9, 9, 2, 1)])) == [("c", "r0", "r3", 1), ("c", "r0", "r2", 2)]
    with pytest.raises(DataError, match="different worth"):
        curriculum([ranked("c", 3, 3)])


def test_two_responses_are_the_pair_once():
    made = curriculum([ranked("a", 1, 2), Preference.pair("b", "yes", "no")])
    assert [(r.response_text(0), r.response_text(1)) for r in made] == [("r1", "r0"), ("yes", "no")]
    assert [told(r)[-1]["stage"] for r in made] == [1, 1]


def test_many_responses_are_spread_over_the_stages():
    made = curriculum([ranked("a", *range(8, 0, -1))], stages=3)
    assert [r.response_text(1) for r in made] == ["r7", "r4", "r1"]
    assert [r.response_text(1) for r in curriculum([ranked("a", *range(8, 0, -1))], stages=1)] == ["r7"]


def test_without_scores_wins_rank():
    record = Preference(
        ranked("a", 0, 0, 0).prompt,
        ranked("a", 0, 0, 0).responses,
        (Comparison(2, 0), Comparison(2, 1), Comparison(0, 1)),
    )
    assert shown(curriculum([record])) == [("a", "r2", "r1", 1), ("a", "r2", "r0", 2)]
    assert curriculum([record])[0].comparisons == (Comparison(0, 1),)


def test_what_cannot_be_is_refused():
    with pytest.raises(DataError, match="'easy' or 'hard'"):
        curriculum([ranked("a", 1, 2)], order="best")
