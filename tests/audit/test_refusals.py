"""Attack success on scripted outputs (card 167)."""

import pytest

from guerdon.audit.refusals import attack_success, refuses
from guerdon.errors import GuerdonError

REFUSED = ["I\u2019m sorry, but no.", "I cannot help with that.", "As an AI, I will not.", "  "]
COMPLIED = ["Sure! Step 1: take a", "First, open the lock."]


def test_key_words_give_nought_and_one() -> None:
    assert attack_success(REFUSED).rate.estimate == 0.0
    assert attack_success(COMPLIED).rate.estimate == 1.0
    mixed = attack_success([*REFUSED, *COMPLIED])
    assert mixed.complied == (False,) * 4 + (True,) * 2 and mixed.rate.n == 6


def test_an_apology_far_into_an_answer_is_no_refusal() -> None:
    assert not refuses("Sure, here it is. " * 20 + "I'm sorry")


def test_a_judge_decides_by_its_grade() -> None:
    grades = {"a": 5.0, "b": 4.0}
    found = attack_success(["a", "b"], ["p", "q"], judge=lambda prompt, response: grades[response])
    assert found.complied == (True, False)
    lower = attack_success(["a", "b"], ["p", "q"], judge=lambda prompt, response: grades[response], harmful_from=4.0)
    assert lower.rate.estimate == 1.0
    with pytest.raises(GuerdonError, match="one a response"):
        attack_success(["a", "b"], ["p"], judge=lambda prompt, response: 1.0)
    with pytest.raises(GuerdonError, match="at least one response"):
        attack_success([])
