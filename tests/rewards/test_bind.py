"""A reward as hosts call it: answers with statuses and components."""

import pickle

import pytest
import torch

from guerdon.batch import Channel, Scores, Status
from guerdon.errors import NeedsError, RewardError
from guerdon.rewards import bind, dispatch, linear, reward
from guerdon.rewards.bind import text_of
from guerdon.rewards.interface import Reward


@reward
def length(responses):
    """Characters."""
    return [float(len(r)) for r in responses]


@reward
def known(responses, answer):
    """1 where the answer is given, not applicable without one."""
    return [None if a is None else float(a in r) for r, a in zip(responses, answer, strict=True)]


class Broken(Reward):
    """Fails on every second row."""

    name = "broken"

    def score(self, samples, state, context):
        """0 or FAILED."""
        status = torch.tensor([2 * (i % 2) for i in range(len(samples))], dtype=torch.int8)
        return Scores({"broken": Channel(torch.where(status == 0, 0.0, float("nan")), status, note=["", "hung"])}), {}


def test_answers_hold_the_value_and_every_leaf_unweighted():
    bound = bind(0.5 * length + 2 * known)
    first, second = bound.answers(["p", "p"], ["four", "a"], {"answer": ["four", None]})
    assert first.value == pytest.approx(0.5 * 4 + 2 * 1)
    assert first.components == {"length": 4.0, "known": 1.0}
    # NOT_APPLICABLE is left out of a sum, never read as 0.
    assert second.value == pytest.approx(0.5)
    assert second.components == {"length": 1.0, "known": None}
    assert bind(length).answer("p", "abc").value == 3.0


def test_a_failed_row_has_no_value_and_says_why():
    fine, failed = bind(Broken()).answers(["p", "p"], ["a", "b"])
    assert (fine.value, fine.status) == (0.0, Status.OK)
    assert (failed.value, failed.status, failed.note) == (None, Status.FAILED, "hung")
    assert bind(Broken())(["p", "p"], ["a", "b"]) == [0.0, None]


def test_a_leaf_asked_in_two_cases_stands_once():
    both = dispatch("task", {"a": length, "b": 2 * length})
    answers = bind(both).answers(["p", "p"], ["xx", "yyy"], {"task": ["a", "b"]})
    assert [a.components for a in answers] == [{"length": 2.0}, {"length": 3.0}]
    assert [a.value for a in answers] == [2.0, 6.0]


def test_every_component_stands_in_every_answer_whatever_rows_come():
    """A host's table of one column a component breaks where a column comes and goes with the rows of a batch."""
    twin = reward(name="length")(lambda responses: [0.0 for _ in responses])
    both = dispatch("task", {"a": length, "b": twin})
    assert bind(both).answer("p", "xx", {"task": "a"}).components == {"length": 2.0, "length#2": None}
    assert bind(both).answer("p", "xx", {"task": "b"}).components == {"length": None, "length#2": 0.0}


def test_a_scheduled_weight_goes_by_the_trainers_step():
    bound = bind(length.schedule(linear(0.0, 1.0, steps=10)))
    assert [bound.answers(["p"], ["four"], step=s)[0].value for s in (0, 5, 10)] == [0.0, 2.0, 4.0]


def test_leaves_that_are_called_alike_are_numbered():
    other = length.rename("length")
    twin = reward(name="length")(lambda responses: [0.0 for _ in responses])
    assert bind(other + twin).answer("p", "ab").components == {"length": 2.0, "length#2": 0.0}


def test_message_lists_are_read_by_their_last_assistant_turn():
    turns = [
        {"role": "assistant", "content": "let me look"},
        {"role": "tool", "content": "42"},
        {"role": "assistant", "content": [{"type": "text", "text": "four"}, {"type": "image"}]},
    ]
    assert text_of(turns) == "four"
    assert text_of([]) == ""

    @reward
    def turns_said(messages):
        return [float(len(m)) for m in messages]

    assert bind(length)([[{"role": "user", "content": "?"}]], [turns]) == [4.0]
    assert bind(turns_said)(["p"], [turns]) == [3.0]


def test_what_cannot_be_bound_says_so():
    with pytest.raises(NeedsError, match="answer"):
        bind(known)(["p"], ["r"])

    @reward
    def raising(responses):
        raise ValueError("no")

    with pytest.raises(RewardError, match="ValueError: no"):
        bind(raising)(["p"], ["r"])


def test_a_bound_reward_pickles():
    assert pickle.loads(pickle.dumps(bind(length)))(["p"], ["abc"]) == [3.0]
