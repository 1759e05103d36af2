"""The algebra: values by hand, and what FAILED and NOT_APPLICABLE do in every node."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import pytest
import torch

from guerdon.batch import Channel, Samples, Scores, Status
from guerdon.errors import GuerdonError, NeedsError, RewardError
from guerdon.rewards import (
    Context,
    Node,
    Reward,
    State,
    constrained,
    dispatch,
    gather,
    linear,
    maximum,
    minimum,
    reward,
)

OK, NA, FAILED = (int(s) for s in (Status.OK, Status.NOT_APPLICABLE, Status.FAILED))
X = "failed"


@dataclass(frozen=True)
class Given(Reward):
    """A column read as numbers: None is NOT_APPLICABLE, 'failed' is FAILED."""

    column: str

    @property
    def name(self) -> str:  # type: ignore[override]
        return self.column

    def score(self, samples: Samples, state: State, context: Context) -> tuple[Scores, State]:
        raw = samples.column(self.column)
        status = torch.tensor([FAILED if v == X else NA if v is None else OK for v in raw], dtype=torch.int8)
        value = torch.tensor([float("nan") if v in (X, None) else float(v) for v in raw])
        notes = ["broke" if v == X else "" for v in raw]
        return Scores({self.column: Channel(value, status, note=notes)}), state


@dataclass(frozen=True)
class Counter:
    """A transform with state: adds how often it has run."""

    name: str = "counter"

    def init(self) -> State:
        return {"calls": 0.0}

    def apply(self, channel: Channel, samples: Samples, state: State, context: Context) -> tuple[Channel, State]:
        return channel.with_value(channel.value + state["calls"]), {"calls": state["calls"] + 1.0}


@dataclass(frozen=True)
class Mean:
    """The mean of the valid channels."""

    name: str = "mean"

    def init(self) -> State:
        return {}

    def __call__(
        self, names: Sequence[str], values: torch.Tensor, ok: torch.Tensor, state: State
    ) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.where(ok, values, 0.0).sum(0) / ok.sum(0).clamp(min=1), ok.any(0)


a, b, c = Given("a"), Given("b"), Given("c")


def rows(**columns: list) -> Samples:
    n = len(next(iter(columns.values())))
    return Samples(None, ["p"] * n, [""] * n, columns=columns)


def shown(node: Reward, context: Context | None = None, **columns: list) -> list:
    channel = node.score(rows(**columns), node.init(), context or Context())[0].only()
    assert bool(channel.value[~channel.ok].isnan().all())  # no number hides under an invalid status
    pairs = zip(channel.value.tolist(), channel.statuses().tolist(), strict=True)
    return [v if s == OK else None if s == NA else X for v, s in pairs]


def test_weighted_sum_by_hand() -> None:
    got = shown(0.7 * a + 0.3 * b - 1, a=[1, 2, None, None, X, 1], b=[10, None, 3, None, 1, X])
    assert got == [pytest.approx(2.7), pytest.approx(0.4), pytest.approx(-0.1), None, X, X]


def test_a_sum_is_flat_and_a_constant_goes_with_its_term() -> None:
    node = 0.5 * (a + 2 * b) + c
    assert node.tree().splitlines()[0] == "sum = 0.5*sum + 1*c"
    assert (a + b + c).tree().splitlines()[0] == "sum = 1*a + 1*b + 1*c"
    # where a does not apply, neither does a + 1
    assert shown((a + 1) + b, a=[None, 2], b=[5, 5]) == [5, 8]


def test_minus_and_negation() -> None:
    assert shown(a - b, a=[3], b=[1]) == [2]
    assert shown(1 - a, a=[3]) == [-2]
    assert shown(-a, a=[3]) == [-3]
    assert shown((a + 4) / 2, a=[3]) == [3.5]


def test_product_minimum_maximum() -> None:
    data = {"a": [2, 2, None, None, X], "b": [3, None, 5, None, 1]}
    assert shown(a * b, **data) == [6, 2, 5, None, X]
    assert shown(minimum(a, b), **data) == [2, 2, 5, None, X]
    assert shown(maximum(a, b), **data) == [3, 2, 5, None, X]
    assert shown(minimum(a, b, 2.5), **data) == [2, 2, 2.5, None, X]  # a bound is not a value where nothing applies
    assert shown(maximum(a, 2.5), **data) == [2.5, 2.5, None, None, X]


def test_gate() -> None:
    data = {"a": [5, 5, X, None, 5, 5, X], "b": [1, 0, 0, 1, None, X, 1]}
    # a shut gate does not use its value; an invalid condition hands on its status
    assert shown(a.gate(b, otherwise=-1), **data) == [5, -1, -1, None, None, X, X]
    assert shown(a.gate(b > 0), **data) == [5, 0, 0, None, None, X, X]
    assert shown(a.gate(b, threshold=1.0), a=[5], b=[1]) == [0]


def test_conditions() -> None:
    assert shown(a <= 1, a=[1, 2, None, X]) == [1, 0, None, X]
    assert shown(a < 1, a=[1, 0]) == [0, 1]
    assert shown(a >= b, a=[1, 1, 1], b=[1, 2, None]) == [1, 0, None]
    assert shown(a < 1, a=[0, 1]) == [1, 0]
    with pytest.raises(GuerdonError, match="chain"):
        _ = 0 < a < 1


def test_constrained_floor_and_penalty() -> None:
    data = {"a": [5, 5, 5, 5, X, X], "b": [0.1, 0.5, None, X, 0.1, 0.5]}
    assert shown(constrained(a, b <= 0.1, floor=-1), **data) == [5, -1, None, X, X, -1]
    got = shown(constrained(a, b <= 0.1, penalty=10), **data)
    assert got == [5, pytest.approx(1.0), None, X, X, X]
    two = constrained(a, b <= 0.1, c >= 1)  # default: penalty 1 on the summed violation
    assert shown(two, a=[5.0], b=[0.6], c=[-1]) == [pytest.approx(5 - 0.5 - 2)]
    with pytest.raises(GuerdonError, match="exactly one"):
        constrained(a, b <= 1, floor=0, penalty=1)
    with pytest.raises(GuerdonError, match="condition"):
        constrained(a, b)  # type: ignore[arg-type]


def test_dispatch_by_a_column() -> None:
    node = dispatch("task", {"x": a, "y": 2 * b})
    data = {"task": ["x", "y", "y", "x"], "a": [1, X, X, None], "b": [X, 3, None, X]}
    assert shown(node, **data) == [1, 6, None, None]
    with pytest.raises(NeedsError, match=r"no case for 'z' \(row 1\)"):
        shown(node, task=["x", "z"], a=[1, 1], b=[1, 1])
    assert shown(dispatch("task", {"x": a}, default=b), task=["x", "z"], a=[1, 1], b=[2, 2]) == [1, 2]
    assert node.needs == ("task",)


def test_dispatch_asks_a_reward_only_for_its_own_rows_and_logs_all_rows() -> None:
    seen: list[int] = []

    @reward
    def counting(responses: list[str]) -> list[float]:
        seen.append(len(responses))
        return [1.0] * len(responses)

    logged: dict[str, Channel] = {}
    node = dispatch("task", {"x": counting, "y": a, "unused": b})
    context = Context(log=lambda path, channel: logged.setdefault(path, channel))
    assert shown(node, context, task=["x", "y", "x"], a=[7, 7, 7]) == [1, 7, 1]
    assert seen == [2]
    assert logged["dispatch/x"].statuses().tolist() == [OK, NA, OK]
    assert set(logged) == {"dispatch", "dispatch/x", "dispatch/y"}


def test_pipe_keeps_state_by_channel_and_path() -> None:
    node = gather(a, b).pipe(Counter(), Counter())
    samples = rows(a=[0.0], b=[10.0])
    state: State = node.init()
    assert state == {"": {ch: {"0": {"calls": 0.0}, "1": {"calls": 0.0}} for ch in ("a", "b")}}
    _, state1 = node.score(samples, state, Context())
    scores, state2 = node.score(samples, state1, Context())
    assert [scores[n].value.tolist() for n in "ab"] == [[2.0], [12.0]]
    assert state == node.init() and state2[""]["b"]["1"] == {"calls": 2.0}


def test_state_is_nested_by_path() -> None:
    node = a.pipe(Counter()) + b.pipe(Counter())
    assert node.init() == {"a": {"": {"a": {"0": {"calls": 0.0}}}}, "b": {"": {"b": {"0": {"calls": 0.0}}}}}
    assert (0.5 * a + b).init() == {}


def test_combine_and_gather() -> None:
    node = gather(a, b).combine(Mean())
    assert shown(node, a=[1, 1, None, X], b=[3, None, None, 1]) == [2, 1, None, X]
    with pytest.raises(GuerdonError, match="rename"):
        gather(a, a)
    assert gather(a, a.rename("again")).channels == ("a", "again")
    with pytest.raises(NeedsError, match="combine them first"):
        shown(gather(a, b) * c, a=[1], b=[1], c=[1])
    doubled = (2 * gather(a, b)).score(rows(a=[1], b=[2]), {}, Context())[0]
    assert [doubled[n].value.tolist() for n in "ab"] == [[2], [4]]


def test_schedule() -> None:
    node = a.schedule(linear(0, 1, steps=10, begin=5))
    assert [shown(node, Context(step=s), a=[4.0])[0] for s in (0, 5, 10, 15, 99)] == [0, 0, 2, 4, 4]


def test_a_reward_named_twice_is_scored_once_and_shares_its_state() -> None:
    calls: list[int] = []

    @reward
    def slow(responses: list[str]) -> list[float]:
        calls.append(1)
        return [2.0] * len(responses)

    assert shown(slow * slow + slow.gate(slow > 1), a=[0.0]) == [6.0]
    assert len(calls) == 1
    counted = a.pipe(Counter())
    node = counted + counted
    _, state = node.score(rows(a=[0.0]), node.init(), Context())
    assert state["a"] == state["a#2"] == {"": {"a": {"0": {"calls": 1.0}}}}


def test_every_node_is_logged_under_its_path() -> None:
    logged: dict[str, list[float]] = {}
    node = (0.5 * a + b).rename("score")
    context = Context(log=lambda path, channel: logged.__setitem__(path, channel.value.tolist()))
    shown(node, context, a=[2.0], b=[1.0])
    assert logged == {"score": [2.0], "score/sum": [2.0], "score/sum/a": [2.0], "score/sum/b": [1.0]}


def test_explain_shows_value_status_and_note_of_every_node() -> None:
    node = (0.5 * a + b).gate(c > 0)
    samples = rows(a=[2, X], b=[1, None], c=[1, 1])
    good, bad = node.explain(samples, 0), node.explain(samples, -1)
    assert (good.value, good.status) == (2.0, "OK")
    assert (bad.value, bad.status, bad.note) == (None, "FAILED", "broke")
    assert [(depth, e.name) for depth, e in good.walk()] == [
        (0, "gate"), (1, "sum"), (2, "a"), (2, "b"), (1, "c > 0"), (2, "c"),
    ]  # fmt: skip
    text = str(bad).splitlines()
    assert text[0].split() == ["node", "value", "status", "note"]
    assert text[-4].split()[-2:] == ["FAILED", "broke"] and "NOT_APPLICABLE" in text[-3]


def test_explain_of_several_channels() -> None:
    told = gather(a, b).explain(rows(a=[1.0], b=[None]))
    assert told.status == "several" and [p.value for p in told.parts[:2]] == [1.0, None]


def test_tree() -> None:
    node: Node = (0.7 * a + 0.3 * b.pipe(Counter())).gate(c > 0)
    assert node.tree() == (
        "gate: sum where c > 0, else 0\n"
        "  sum = 0.7*a + 0.3*b\n"
        "    a (Given)\n"
        "    b | counter\n"
        "      b (Given)\n"
        "  c > 0\n"
        "    c (Given)"
    )


def test_step_rewards_do_not_mix_with_row_rewards() -> None:
    @reward
    def steps(responses: list[str]) -> torch.Tensor:
        return torch.ones(len(responses), 3)

    with pytest.raises(GuerdonError, match="one shape"):
        shown(steps + a, a=[1.0])
    assert (2 * steps).score(rows(a=[0.0]), {}, Context())[0].only().value.tolist() == [[2.0, 2.0, 2.0]]


def test_nan_under_an_invalid_status_reaches_neither_value_nor_gradient() -> None:
    x = torch.tensor([2.0, 3.0], requires_grad=True)

    @reward(differentiable=True)
    def learned(samples: Samples) -> Channel:
        value = torch.where(torch.tensor([True, False]), x, torch.tensor(float("nan")))
        return Channel(value, torch.tensor([OK, NA], dtype=torch.int8))

    node = minimum(3 * learned + a, 100.0) * b
    out = node.score(rows(a=[1, 1], b=[2, 2]), {}, Context())[0].only()
    assert node.differentiable
    torch.where(out.ok, out.value, 0.0).sum().backward()
    assert x.grad is not None and x.grad.tolist() == [6.0, 0.0]
    assert out.value.tolist() == [14.0, 2.0]


def test_numbers_must_be_finite() -> None:
    with pytest.raises(GuerdonError, match="finite numbers"):
        _ = a * math.nan
    with pytest.raises(GuerdonError, match="finite numbers"):
        _ = a + "b"  # type: ignore[operator]


def test_a_leaf_must_score_every_row() -> None:
    class Short(Reward):
        name = "short"

        def score(self, samples: Samples, state: State, context: Context) -> tuple[Scores, State]:
            return Scores({"short": Channel(torch.zeros(1))}), state

    with pytest.raises(RewardError, match="'short' must score 2 rows, but scored 1"):
        shown(Short() + 1, a=[1, 2])
