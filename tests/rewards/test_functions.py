"""Plain functions as rewards: how arguments are filled, and what a bad return says."""

import asyncio
import json
import pickle
import sys
from pathlib import Path

import pytest
import torch

from guerdon import shaping
from guerdon.batch import Channel, Samples, Scores
from guerdon.errors import GuerdonError, NeedsError, RewardError
from guerdon.rewards import (
    Context,
    Reward,
    Runner,
    bind,
    constrained,
    dispatch,
    dumps,
    gather,
    linear,
    loads,
    minimum,
    reward,
)
from guerdon.rewards.rules import Length, Match, Overlong

SAMPLES = Samples(None, ["p0", "p1"], ["ab", "abc"], columns={"answer": ["ab", "x"], "level": [1, 2]})


def values(r: Reward, samples: Samples = SAMPLES) -> list:
    channel = r.score(samples, {}, Context())[0].only()
    return [v if ok else None for v, ok in zip(channel.value.tolist(), channel.ok.tolist(), strict=True)]


def test_parameters_are_filled_by_name() -> None:
    @reward
    def right(responses: list, answer: list) -> list:
        return [r == w for r, w in zip(responses, answer, strict=True)]

    @reward(each=True)
    def one(prompt: str, response: str, level: int, weight: float = 10.0) -> float:
        return len(prompt) + len(response) * level * weight

    @reward
    def trl_style(completions: list, prompts: list, **kwargs: list) -> list:
        return [len(kwargs), sum(kwargs["level"])]

    @reward
    def whole(samples: Samples, context: Context) -> torch.Tensor:
        return torch.tensor(samples.column("level")) + context.step

    assert values(right) == [1.0, 0.0] and right.needs == ("answer",)
    assert values(one) == [22.0, 62.0]
    assert values(trl_style) == [2.0, 3.0]
    assert values(whole) == [1.0, 2.0]
    assert right(["a"], ["a"]) == [True]  # still the function


def test_a_missing_column_is_named() -> None:
    @reward
    def graded(responses: list, reference: list) -> list:
        return [0.0] * len(responses)

    with pytest.raises(NeedsError, match=r"'graded' needs the column 'reference'.*'answer', 'level'"):
        values(graded)


def test_integers_and_booleans_become_float32() -> None:
    """slime fb79de1bc: integer rewards reached the advantage as integers."""
    for got in ([1, 2], [True, False], torch.tensor([1, 2]), torch.tensor([True, False])):
        channel = reward(lambda responses, got=got: got).score(SAMPLES, {}, Context())[0].only()
        assert channel.value.dtype == torch.float32


def test_zero_is_a_reward_and_none_is_not() -> None:
    """OpenRLHF 33f9d72f read 0.0 as missing."""
    assert values(reward(lambda responses: [0.0, None])) == [0.0, None]


@pytest.mark.parametrize(
    ("result", "message"),
    [
        ([1.0], r"'f' must give 2 values, one a row, but gave 1"),
        ([1.0, float("nan")], r"'f' gave nan for row 1"),
        ([float("inf"), 1.0], r"'f' gave inf for row 0"),
        ([1.0, "2"], r"'f' gave the text '2' for row 1"),
        ([1.0, [2]], r"'f' gave a list for row 1"),
        ("high", r"'f' must give one number a row, but gave a str"),
        (0.5, r"'f' must give one number a row, but gave a float"),
        (None, r"'f' must give one number a row, but gave a NoneType"),
        ({"a": 1}, r"'f' must give one number a row, but gave a dict"),
        (torch.tensor([1.0, float("nan")]), r"'f' gave nan for row 1"),
        (torch.zeros(2, 3, 4), r"'f' must give a tensor \[N\] or \[N,T\]"),
        (torch.zeros(3), r"'f' must give 2 values"),
    ],
)
def test_what_is_not_a_reward_is_refused(result: object, message: str) -> None:
    def f(responses: list) -> object:
        return result

    with pytest.raises(RewardError, match=message):
        values(reward(f))


def test_a_function_that_raises_names_the_row() -> None:
    @reward(each=True)
    def fragile(response: str) -> float:
        return 1 / (len(response) - 3)

    with pytest.raises(RewardError, match="'fragile' raised ZeroDivisionError on row 1"):
        values(fragile)


def test_async_functions_run_concurrently() -> None:
    running = [0, 0]

    @reward(each=True, at_once=3)
    async def judged(response: str) -> int:
        running[0] += 1
        running[1] = max(running)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        running[0] -= 1
        return len(response)

    @reward
    async def batched(responses: list) -> list:
        return [len(r) for r in responses]

    many = Samples(None, ["p"] * 9, ["a"] * 9)
    assert values(judged, many) == [1.0] * 9 and running[1] == 3
    assert values(batched) == [2.0, 3.0]

    async def inside_a_loop() -> list:
        return values(batched)

    assert asyncio.run(inside_a_loop()) == [2.0, 3.0]


def test_scores_and_channels_pass_and_gradient_only_where_asked() -> None:
    x = torch.ones(2, requires_grad=True)
    two = reward(lambda samples: Scores({"u": Channel(x), "v": Channel(x)}))
    scores = two.score(SAMPLES, {}, Context())[0]
    assert scores.names() == ("u", "v") and not scores["u"].value.requires_grad
    kept = reward(differentiable=True)(lambda samples: x)
    assert kept.score(SAMPLES, {}, Context())[0].only().value.requires_grad


MODULE = """
from guerdon.rewards import reward
from guerdon.rewards.functions import FunctionReward

@reward
def brevity(responses):
    return [-len(r) for r in responses]

def level(level):
    return level

@reward(name="hard", each=True)
def difficulty(level):
    return level * 2

def decay(step):
    return 0.5 ** step
"""


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "my_rewards.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "my_rewards", raising=False)
    import my_rewards

    return my_rewards


def graph(mine) -> Reward:
    left = 0.7 * mine.brevity + reward(mine.level).schedule(mine.decay) - 1
    right = minimum(Length(), 2.5).gate(Match(how="contains"), otherwise=-1.0)
    both = constrained(left, mine.difficulty <= 3, penalty=2.0).schedule(linear(0, 1, steps=4))
    return dispatch("answer", {"ab": both}, default=(right * 2).rename("right"))


def test_a_graph_survives_json(mine) -> None:
    node = graph(mine)
    again = loads(dumps(node))
    context = Context(step=3)
    for explained in (0, 1):
        assert str(again.explain(SAMPLES, explained)) == str(node.explain(SAMPLES, explained))
    first = node.score(SAMPLES, {}, context)[0].only().value
    assert torch.equal(again.score(SAMPLES, {}, context)[0].only().value, first)
    # brevity 0.7*-2 + 1*0.5^3 - 1, at 3/4 of the schedule; "abc" has no "x" in it
    assert first.tolist() == pytest.approx([0.75 * (-1.4 + 0.125 - 1), -2.0])
    assert json.loads(dumps(again)) == json.loads(dumps(node))
    assert "my_rewards:brevity" in dumps(node)


def test_equal_leaves_stay_one(mine) -> None:
    again = loads(dumps(gather(mine.brevity, mine.brevity.rename("x"))))
    assert again.parts[0].identity() == again.parts[1].parts[0].identity()


def test_closures_are_refused_clearly() -> None:
    def inner(responses: list) -> list:
        return [0.0 for _ in responses]

    with pytest.raises(GuerdonError, match=r"inner is a closure or lambda and cannot be stored; move it"):
        dumps(reward(inner) + 1)


def test_a_stored_graph_cannot_call_anything() -> None:
    evil = {"object": "os:system", "arguments": {"mapping": [["command", "true"]]}}
    with pytest.raises(GuerdonError, match=r"must be|expected to be"):
        loads(json.dumps(evil))
    with pytest.raises(GuerdonError, match="line 1"):
        loads("{")
    with pytest.raises(GuerdonError, match="importable"):
        loads('{"function": "no_such_module:f", "options": {}}')


def test_bind_gives_a_plain_picklable_callable(mine) -> None:
    bound = bind((mine.brevity + 1).rename("my score!"))
    assert bound.__name__ == "my_score"
    assert bound(["p", "q"], ["ab", ""], extra=[1, 2]) == [-1.0, 1.0]
    assert pickle.loads(pickle.dumps(bound))(["p"], ["abc"]) == [-2.0]
    assert bind(Match())(["p", "q"], ["a", "b"], answer=["a", None]) == [1.0, None]
    with pytest.raises(NeedsError, match="answer"):
        bind(Match())(["p"], ["a"])


def test_a_graph_with_shaping_and_a_runner_survives_json() -> None:
    shaped = 0.7 * Length().pipe(shaping.zscore("batch"), shaping.sigmoid()) + Runner(
        Match(), timeout_s=30.0, retries=1
    )
    pessimist = gather(Length(), Overlong(3, 2, "characters")).combine(shaping.mean_minus_std(1.0))
    node = gather(shaped, pessimist, 2 * shaping.relative(Length()))
    context = Context(anchors=Samples(None, ["p0", "p1"], ["a", "b"]))
    again = loads(dumps(node))
    first, second = (g.score(SAMPLES, g.init(), context)[0] for g in (node, again))
    assert first.names() == second.names() and len(first) == 3
    for name in first.names():
        assert torch.equal(first[name].value, second[name].value)
    copied = pickle.loads(pickle.dumps(bind(shaped)))
    assert copied(["p"], ["ab"], answer=["ab"]) == bind(shaped)(["p"], ["ab"], answer=["ab"])
