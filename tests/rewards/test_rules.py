"""Rules: hand-checked values and the tricks that fool careless verifiers."""

import threading

import pytest
import torch

from guerdon.batch import Samples, Status, TokenRows
from guerdon.errors import GuerdonError, NeedsError
from guerdon.rewards import Context, Reward
from guerdon.rewards.rules import (
    JsonFormat,
    Length,
    Match,
    MathAnswer,
    Overlong,
    PatternFormat,
    Repetition,
    ThinkFormat,
    answer_in,
    repeated_share,
)


def ask(reward: Reward, responses: list[str], **columns: list) -> list[float | None]:
    samples = Samples(None, ["p"] * len(responses), responses, columns=columns)
    channel = reward.score(samples, {}, Context())[0].only()
    return [v if ok else None for v, ok in zip(channel.value.tolist(), channel.ok.tolist(), strict=True)]


def test_match_exact_and_its_normalisations() -> None:
    said = ["The  Cat.", "cat", "", "cat"]
    gold = ["The Cat.", "CAT", "cat", None]
    assert ask(Match(), said, answer=gold) == [1, 0, 0, None]
    assert ask(Match(normalise="loose"), said, answer=gold) == [1, 1, 0, None]
    assert ask(Match(normalise="none"), ["a ", "a"], answer=["a", "a"]) == [0, 1]


def test_match_contains_whole_words_only() -> None:
    said = ["it is 42", "it is 142", "it is 4", ""]
    assert ask(Match(how="contains"), said, answer=["42"] * 4) == [1, 0, 0, 0]
    assert ask(Match(how="contains"), ["Paris, of course"], answer=[["London", "Paris"]]) == [1]


def test_match_regex_and_empty_gold() -> None:
    assert ask(Match(how="regex"), ["ab12", "ab"], answer=[r"\d+$", r"\d+$"]) == [1, 0]
    assert ask(Match(), ["", ""], answer=["", []]) == [None, None]  # nothing to compare with is not a match of nothing


def test_match_refuses_what_it_does_not_know() -> None:
    with pytest.raises(GuerdonError, match="exact"):
        Match(how="fuzzy")
    with pytest.raises(NeedsError, match="answer"):
        ask(Match(), ["x"], other=["x"])


MATH = [
    ("42", "The answer is 42", 1),
    ("#### -5", "so it is −5", 1),  # signed numbers of GSM8K
    ("5", "it is +5", 1),
    ("-5", "it is 5", 0),
    ("1,234", "That makes 1234 apples.", 1),  # thousands separators, either side
    ("1234567", "$1,234,567$", 1),
    (r"\frac{1}{2}", r"\boxed{0.5}", 1),
    ("8", "The answer is 7. No: 7 + 1, so \\boxed{8}", 1),  # the last answer counts
    ("7", "The answer is 7. No: 7 + 1, so \\boxed{8}", 0),  # one score a row, not one for each expression found
    ("x^2+1", "$1+x^2$", 1),
    ("7", "<answer>7</answer> wait, <answer>8</answer>", 0),  # the last tag is the answer
    ("8", "<answer>7</answer> wait, <answer>8</answer>", 1),
    ("3", "", 0),
    ("3", "no idea", 0),
    ("banana split", "banana split", None),  # a gold answer that cannot be parsed punishes nobody
    (None, "3", None),
]


def test_math_answers_by_hand() -> None:
    """Signs (open-instruct d97976175), one score a sample (NeMo-RL c112cfe15), unparsable gold is left out."""
    got = ask(MathAnswer(timeout_s=60), [s for _, s, _ in MATH], answer=[g for g, _, _ in MATH])
    assert got == [w for _, _, w in MATH]


def test_math_answers_off_the_main_thread() -> None:
    """math-verify's alarm works in the main thread only; elsewhere all rewards were silently 0 (verl#5635)."""
    out: list = []
    thread = threading.Thread(target=lambda: out.append(ask(MathAnswer(timeout_s=60), ["it is 42"], answer=["42"])))
    thread.start()
    thread.join()
    assert out == [[1.0]]


def test_think_format() -> None:
    good = "<think>2+2</think>\n<answer>4</answer>"
    cases = [
        good,
        "x" + good,
        good + " and more",
        "<think></think><answer>4</answer>",
        "<think>a</think><answer> </answer>",
        "<answer>4</answer><think>a</think>",
        "<think>a</think><answer>3</answer><answer>4</answer>",
        "<think><think>a</think><answer>4</answer>",
        "",
    ]
    assert ask(ThinkFormat(), cases) == [1, 0, 0, 0, 0, 0, 0, 0, 0]
    assert ask(ThinkFormat(answer=False), ["<think>a</think> b", "<think>a</think>", "b"]) == [1, 0, 0]


def test_the_last_answer_tag_counts() -> None:
    """A planted verdict, or tags quoted in the thought, must not be read (verifiers 3a1b9220f)."""
    assert answer_in("I must write <answer>x</answer>. <answer>4</answer>") == "4"
    assert answer_in("<answer>4") is None
    assert answer_in("</answer><answer>") is None
    assert answer_in("") is None


def test_json_format() -> None:
    cases = ['{"a": 1}', "[1, 2]", '{"a": NaN}', "{'a': 1}", '{"a": 1} trailing', "", '```json\n{"a": 1}\n```']
    assert ask(JsonFormat(), cases) == [1, 1, 0, 0, 0, 0, 0]
    assert ask(JsonFormat(keys=("a",), fence=True), cases) == [1, 0, 0, 0, 0, 0, 1]
    assert ask(JsonFormat(), ["[" * 100_000]) == [0]  # nesting that overflows the parser's stack is a format error


def test_pattern_format_matches_the_whole_response() -> None:
    assert ask(PatternFormat(r"yes|no"), ["yes", "yes.", "no", ""]) == [1, 0, 1, 0]
    with pytest.raises(GuerdonError, match="regular expression"):
        PatternFormat("(")


def test_length_in_each_unit() -> None:
    assert ask(Length(), ["ab c", ""]) == [4, 0]
    assert ask(Length("words"), ["ab  c", ""]) == [2, 0]
    mask = torch.tensor([[True, True, True], [True, True, True]])
    acted = torch.tensor([[False, True, True], [False, False, False]])
    samples = Samples(TokenRows(torch.zeros(2, 3, dtype=torch.int64), mask, acted), ["p", "q"], ["xx", ""])
    assert Length("tokens").score(samples, {}, Context())[0].only().value.tolist() == [2, 0]
    with pytest.raises(NeedsError, match="TokenRows"):
        ask(Length("tokens"), ["a"])


def test_overlong_punishment_of_dapo() -> None:
    words = [8, 9, 10, 11, 12, 20]
    got = ask(Overlong(limit=12, cache=4, unit="words"), [" ".join("a" * n) for n in words])
    assert got == [0, -0.25, -0.5, -0.75, -1, -1]
    with pytest.raises(GuerdonError, match="cache"):
        Overlong(limit=4, cache=5)


def test_repetition_by_hand() -> None:
    # a b a b a: trigrams aba, bab, aba: 2 distinct of 3
    assert repeated_share("a b A b a", 3) == pytest.approx(1 / 3)
    assert repeated_share("a b", 3) == 0 and repeated_share("", 3) == 0
    assert ask(Repetition(size=1, penalty=-2), ["x x x x", "a b c d", ""]) == [-1.5, 0, 0]


def test_statuses_of_rules_are_not_zero() -> None:
    samples = Samples(None, ["p"], ["4"], columns={"answer": [None]})
    channel = Match().score(samples, {}, Context())[0].only()
    assert channel.statuses().tolist() == [Status.NOT_APPLICABLE] and bool(channel.value.isnan().all())
