"""Rewards in verifiers: scored by the installed package's own v1 tasks, and by the rules of the older Rubric."""

import asyncio
import functools
import inspect
import math
import pickle

import pytest

from guerdon.errors import GuerdonError, NeedsError, RewardError
from guerdon.integrations.verifiers import as_rubric, as_verifiers, rubric_functions, score_traces
from guerdon.rewards import dispatch, reward
from guerdon.rewards.rules.match import Match
from guerdon.shaping import zscore

vf = pytest.importorskip("verifiers.v1")
from verifiers.v1.configs.agent import AgentConfig  # noqa: E402


@reward
def brief(responses):
    """1 of at most four characters."""
    return [float(len(r) <= 4) for r in responses]


@reward
async def slowly(responses):
    """Characters, in its own time."""
    await asyncio.sleep(0.001)
    return [float(len(r)) for r in responses]


def by_length(responses, limit):
    return [float(len(r) <= limit) for r in responses]


MIXED = 0.75 * Match() + 0.25 * brief


class Data(vf.TaskData):
    """A question with its answer."""

    answer: str | None = "four"


class Mixed(vf.Task[Data]):
    """A weighted sum."""

    score_it = as_verifiers(MIXED)


def trace_of(task, said):
    """A finished trace of one turn."""
    trace = vf.Trace(
        task=vf.TraceTask(type=type(task).__name__, data=task.data), agent=vf.AgentInfo(config=AgentConfig())
    )
    asked = vf.MessageNode(message=vf.UserMessage(content="2+2?"))
    reply = vf.MessageNode(parent=0, message=vf.AssistantMessage(content=said), sampled=True)
    trace.nodes = [asked, reply]
    return trace


def scored(cls, said, answer="four"):
    """The trace after the host's own scoring."""
    task = cls(Data(prompt="2+2?", answer=answer))
    trace = trace_of(task, said)
    asyncio.run(task.score(trace))
    return trace


def test_a_task_records_every_term_with_its_weight():
    trace = scored(Mixed, "four")
    assert {k: (r.score, r.weight) for k, r in trace.rewards.items()} == {"match": (1.0, 0.75), "brief": (1.0, 0.25)}
    assert trace.reward == 1.0
    assert scored(Mixed, "five").reward == 0.25
    assert trace.metrics == {}


def test_a_term_that_does_not_apply_is_not_scored():
    trace = scored(Mixed, "four", answer=None)
    assert trace.rewards["match"] is None
    assert trace.reward == 0.25


def test_what_is_no_weighted_sum_is_one_reward_with_components_as_metrics():
    class Product(vf.Task[Data]):
        both = as_verifiers(Match() * brief)

    trace = scored(Product, "four")
    assert {k: (r.score, r.weight) for k, r in trace.rewards.items()} == {"product": (1.0, 1.0)}
    assert trace.metrics == {"match": 1.0, "brief": 1.0}

    class ByTask(vf.Task[Data]):
        one = as_verifiers(dispatch("answer", {"four": Match(), "long": brief}))

    assert scored(ByTask, "four").metrics == {"match": 1.0, "brief": None}

    class Alone(vf.Task[Data]):
        match = as_verifiers(Match())

    trace = scored(Alone, "four")
    assert (trace.reward, trace.metrics) == (1.0, {})


def test_an_invalid_reward_is_an_error_of_the_trace_and_not_a_zero():
    class Alone(vf.Task[Data]):
        match = as_verifiers(Match())

    task = Alone(Data(prompt="2+2?", answer=None))
    trace = trace_of(task, "four")
    with pytest.raises(vf.TaskError, match="NOT_APPLICABLE"):
        asyncio.run(task.score(trace))
    assert trace.rewards == {"match": None}

    class Told(vf.Task[Data]):
        match = as_verifiers(Match(), invalid=-1.0)

    class Nan(vf.Task[Data]):
        match = as_verifiers(MIXED * Match(), invalid="nan")

    assert scored(Told, "four", answer=None).reward == -1.0
    assert scored(Nan, "four", answer=None).reward == 0.25  # a product leaves out what does not apply

    class NanAlone(vf.Task[Data]):
        match = as_verifiers(Match(), invalid="nan")

    assert math.isnan(scored(NanAlone, "four", answer=None).reward)


def test_an_asynchronous_reward_is_scored_inside_the_hosts_loop():
    class Slow(vf.Task[Data]):
        slowly = as_verifiers(slowly)

    async def many():
        task = Slow(Data(prompt="2+2?"))
        traces = [trace_of(task, "x" * n) for n in range(1, 4)]
        await asyncio.gather(*(task.score(t) for t in traces))
        return [t.reward for t in traces]

    assert asyncio.run(many()) == [1.0, 2.0, 3.0]


plugged = as_verifiers(MIXED)


def test_it_plugs_in_by_its_path_and_pickles():
    config = vf.TaskConfig(rewards={"mixed": vf.RewardFunctionConfig(fn=f"{__name__}:plugged")})
    task = vf.Task[Data](Data(prompt="2+2?"), config)
    trace = trace_of(task, "five")
    asyncio.run(task.score(trace))
    assert trace.reward == 0.25
    assert pickle.loads(pickle.dumps(plugged)).__name__ == "sum"
    # verifiers looks at its own marks.
    marked = vf.reward(as_verifiers(MIXED))
    assert (plugged.reward, plugged.reward_priority, plugged._vf_weight) == (True, 0, marked._vf_weight)


def test_a_partial_has_a_name():
    """verifiers reads __name__ of every function, which a partial does not have."""

    class Short(vf.Task[Data]):
        short = as_verifiers(reward(name="short")(functools.partial(by_length, limit=4)))

    assert scored(Short, "four").rewards["short"].score == 1.0
    funcs, _ = rubric_functions(reward(name="at most 4")(functools.partial(by_length, limit=4)))
    assert [f.__name__ for f in funcs] == ["at_most_4"]


def test_a_group_is_scored_as_a_whole():
    grouped = slowly.pipe(zscore("prompt", correction=0))
    with pytest.raises(NeedsError, match="score_traces"):
        as_verifiers(grouped)
    tasks = [vf.Task(Data(prompt=p)) for p in ("a", "a", "b", "b")]
    traces = [trace_of(t, said) for t, said in zip(tasks, ["xx", "xxxx", "x", "x"], strict=True)]
    asyncio.run(score_traces(grouped)(traces))
    assert [t.reward for t in traces] == pytest.approx([-1.0, 1.0, 0.0, 0.0], abs=1e-5)
    assert [t.metrics for t in traces] == [{"slowly": x} for x in (2.0, 4.0, 1.0, 1.0)]
    unanswered = [trace_of(vf.Task(Data(prompt="a", answer=a)), "four") for a in ("four", None)]
    with pytest.raises(RewardError, match="NOT_APPLICABLE"):
        asyncio.run(score_traces(Match())(unanswered))
    assert [t.rewards for t in unanswered] == [{"match": vf.Reward(score=1.0)}, {"match": None}]


def rubric_score(funcs, weights, states):
    """(totals, metrics) as the older Rubric computes them: any exception is 0.0, a total adds weight · value."""
    totals, metrics = [0.0] * len(states), [{} for _ in states]
    for func, weight in zip(funcs, weights, strict=True):
        parameters = inspect.signature(func).parameters
        single = [
            {k: s.get(k) for k in ("prompt", "completion", "answer", "info")} | {"state": s, "task": None, "parser": 1}
            for s in states
        ]
        try:
            if {"states", "prompts", "completions"} & set(parameters):
                merged = {f"{k}s": [s[k] for s in single] for k in ("prompt", "completion", "answer", "info", "task")}
                called = {k: v for k, v in {**merged, "states": states}.items() if k in parameters}
                values = asyncio.run(func(**called))
            else:
                values = [float(asyncio.run(func(**{**s, **s["state"]["input"]}))) for s in single]
        except Exception:
            values = [0.0] * len(states)
        for i, value in enumerate(values):
            totals[i] += value * weight
            metrics[i][func.__name__] = value
    return totals, metrics


def state_of(said, answer="four", prompt="2+2?"):
    """A finished rollout's state."""
    messages = [{"role": "assistant", "content": said}]
    asked = [{"role": "user", "content": prompt}]
    return {"prompt": asked, "completion": messages, "answer": answer, "info": {}, "input": {"limit": 4}}


def test_a_rubric_of_terms_has_the_reward_as_its_weighted_total():
    funcs, weights = rubric_functions(MIXED)
    assert ([f.__name__ for f in funcs], weights) == (["match", "brief"], [0.75, 0.25])
    totals, metrics = rubric_score(funcs, weights, [state_of("four"), state_of("five"), state_of("four", None)])
    assert totals == [1.0, 0.25, 0.25]
    assert metrics[1] == {"match": 0.0, "brief": 1.0}
    totals, metrics = rubric_score(*rubric_functions(Match() * brief), [state_of("four"), state_of("five")])
    assert totals == [1.0, 0.0]
    assert metrics[1] == {"product": 0.0, "match": 0.0, "brief": 1.0}
    twice = rubric_functions(Match() + Match("limit", how="contains") + brief.rename("match"))[0]
    assert [f.__name__ for f in twice] == ["match", "match_2", "match_3"]
    above = rubric_functions(brief.pipe(zscore("running")))[0]
    assert [f.__name__ for f in above] == ["brief", "brief_2"]


def test_a_rubric_never_turns_an_invalid_reward_into_a_zero():
    """verifiers' Rubric reads every exception as 0.0."""

    @reward
    def broken(responses):
        raise ValueError("no")

    for graph in (Match(), 0.5 * Match() + 2.0 * Match("answer", how="contains"), Match() * Match()):
        lost, _ = rubric_score(*rubric_functions(graph), [state_of("four", None), state_of("four")])
        assert math.isnan(lost[0])
        assert lost[1] > 0
        assert rubric_score(*rubric_functions(graph, invalid=-2), [state_of("four", None)])[0] == [-2.0]
    assert math.isnan(rubric_score(*rubric_functions(broken), [state_of("four")])[0][0])
    with pytest.raises(GuerdonError, match=r"exception as 0\.0"):
        rubric_functions(Match(), invalid="raise")


def test_a_rubric_asks_the_reward_once_a_rollout():
    asked = []

    @reward
    def counted(responses, limit):
        asked.extend(responses)
        return [float(n) for n in limit]

    funcs, weights = rubric_functions(counted * counted.rename("again") * brief)
    state = state_of("four")
    assert rubric_score(funcs, weights, [state])[0] == [16.0]
    assert asked == ["four"]
    state["completion"] = [{"role": "assistant", "content": "seven"}]
    assert rubric_score(funcs, weights, [state])[0] == [0.0]
    assert asked == ["four", "seven"]
    assert [f.__name__ for f in pickle.loads(pickle.dumps(rubric_functions(MIXED)[0]))] == ["match", "brief"]


def test_a_rubric_of_a_group_reward_is_asked_about_groups():
    grouped = slowly.pipe(zscore("prompt", correction=0))
    funcs, weights = rubric_functions(grouped)
    states = [state_of("xx"), state_of("xxxx"), state_of("x", prompt="1+1?"), state_of("x", prompt="1+1?")]
    totals, _ = rubric_score(funcs, weights, states)
    assert totals == pytest.approx([-1.0, 1.0, 0.0, 0.0], abs=1e-5)


def test_the_rubric_is_the_hosts_own():
    """Whichever verifiers is installed: up to 0.3 it has a Rubric, later it has none."""
    import verifiers

    if not hasattr(verifiers, "Rubric"):
        with pytest.raises(NeedsError, match="as_verifiers"):
            as_rubric(MIXED)
        return
    states = [verifiers.State(**state_of(said), trajectory=[]) for said in ("four", "five")]
    asyncio.run(as_rubric(MIXED).score_group(states))
    assert [s["reward"] for s in states] == [1.0, 0.25]
