"""Pairs by policy (card 167): who wrote which side, never equal sides, provenance kept."""

import pytest

from guerdon.batch import Comparison, Message, Preference
from guerdon.data.pair_policies import WRITERS, best_against_worst, pair_policies, pooled, writer_against_writer
from guerdon.data.provenance import told
from guerdon.errors import DataError


def answers(prompt: str, *texts: str, scores: tuple[float, ...] | None = None) -> Preference:
    return Preference(
        (Message.of("user", prompt),),
        tuple((Message.of("assistant", t),) for t in texts),
        scores=scores,
        source=f"f:{prompt}",
    )


def pool() -> list[Preference]:
    return pooled(
        {
            "self": [answers("p", "ok", "bad", scores=(1.0, -1.0)), answers("q", "same", "same", scores=(2.0, 1.0))],
            "strong": [answers("p", "great", scores=(3.0,)), answers("q", "same", scores=(5.0,))],
            "human": [answers("p", "fine", scores=(2.0,))],
        }
    )


def test_pooled_records_know_their_writers() -> None:
    first, second = pool()
    assert first.extra[WRITERS] == ("self", "self", "strong", "human")
    assert second.extra[WRITERS] == ("self", "self", "strong")
    assert first.scores == (1.0, -1.0, 3.0, 2.0) and first.source == "f:p"


def test_records_of_one_writer_and_prompt_become_one() -> None:
    single = [answers("p", text, scores=(score,)) for text, score in (("a", 1.0), ("b", 3.0), ("c", 2.0))]
    (record,) = pooled({"self": single})
    assert record.extra[WRITERS] == ("self",) * 3
    (pair,) = pair_policies()["self+rm"]([record])
    assert (pair.response_text(0), pair.response_text(1)) == ("b", "a")


@pytest.mark.parametrize(
    ("policy", "chosen", "rejected"),
    [
        ("self+rm", ("ok", "self"), ("bad", "self")),
        ("hc+self", ("fine", "human"), ("ok", "self")),
        ("stronger+self", ("great", "strong"), ("ok", "self")),
        ("stronger+self+rm", ("great", "strong"), ("bad", "self")),
        ("all+rm", ("great", "strong"), ("bad", "self")),
    ],
)
def test_each_policy_by_hand(policy: str, chosen: tuple[str, str], rejected: tuple[str, str]) -> None:
    (pair,) = pair_policies()[policy](pool())  # prompt q holds equal texts only, so it gives none
    assert (pair.response_text(0), pair.extra[WRITERS][0]) == chosen
    assert (pair.response_text(1), pair.extra[WRITERS][1]) == rejected
    assert told(pair) == [{"transform": "pair_policy", "policy": policy, "writers": (chosen[1], rejected[1])}]
    assert pair.source == "f:p"
    assert pair.pairs() == ((0, 1, 1.0, 1.0),)


def test_scores_and_margin_stay_with_the_pair() -> None:
    (pair,) = best_against_worst(pool())
    assert pair.scores == (3.0, -1.0) and pair.comparisons[0].margin == 4.0
    (taken,) = writer_against_writer(pool(), "strong", "self")
    assert told(taken)[0]["policy"] == "strong+self" and taken.comparisons[0].margin is None


def test_equal_or_empty_responses_and_equal_scores_give_no_pair() -> None:
    for texts, scores in ((("a  b", "a b"), (1.0, 0.0)), (("a", "  "), (1.0, 0.0)), (("a", "b"), (1.0, 1.0))):
        assert best_against_worst(pooled({"self": [answers("p", *texts, scores=scores)]})) == []


def test_the_winner_of_the_data_set_is_its_chosen_response() -> None:
    human = Preference.pair("p", "chosen", "rejected")
    turned = Preference(human.prompt, human.responses[::-1], (Comparison(1, 0),))
    (pair,) = writer_against_writer(pooled({"human": [turned], "self": [answers("p", "mine")]}), "human", "self")
    assert (pair.response_text(0), pair.response_text(1)) == ("chosen", "mine")


def test_what_is_missing_is_named() -> None:
    with pytest.raises(DataError, match="writers"):
        best_against_worst([answers("p", "a", "b", scores=(1.0, 0.0))])
    with pytest.raises(DataError, match="response 1 has no score"):
        best_against_worst(pooled({"self": [answers("p", "a", "b")]}))
