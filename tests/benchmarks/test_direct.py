"""Two runs that take turns, and what the page says of their costs."""

from collections.abc import Callable
from typing import Any

import pytest

from benchmarks import direct

Tick = Callable[[object], None]


def counted(name: str, updates: int, seen: list[str]) -> direct.Ticking:
    def go(tick: Tick) -> None:
        for _ in range(updates):
            seen.append(name)
            tick(None)

    return go


@pytest.mark.parametrize(("first", "second"), [(4, 4), (5, 2), (1, 3)])
def test_runs_take_turns_and_the_longer_one_ends_alone(first: int, second: int) -> None:
    seen: list[str] = []
    took = direct.in_turns(counted("a", first, seen), counted("b", second, seen))
    assert [len(t) for t in took] == [first, second]
    both = min(first, second)
    assert seen[: 2 * both] == ["a", "b"] * both
    assert all(t >= 0 for each in took for t in each)


@pytest.mark.parametrize("failing", [0, 1])
def test_a_run_that_fails_says_so_and_stops_none(failing: int) -> None:
    def fails(tick: Tick) -> None:
        tick(None)
        raise ValueError("no more pairs")

    seen: list[str] = []
    runs: list[Any] = [counted("other", 3, seen), counted("other", 3, seen)]
    runs[failing] = fails
    with pytest.raises(ValueError, match="no more pairs"):
        direct.in_turns(*runs)
    assert seen == ["other"] * 3


def test_the_bound_is_on_methods_that_read_two_rows_alone() -> None:
    def found(cost: float, two: bool) -> dict[str, Any]:
        return {"cost": cost, "dpo": 0.5, "reads": "pairs" if two else "lists", "two": two}

    section = direct.page({"methods": {"lists": found(2.0, False), "dear": found(1.2, True), "dpo": found(1.0, True)}})
    (ratio,) = section.ratios
    assert not ratio.holds
    assert ratio.value == 1.2
    assert "dear" in ratio.what
    assert section.text.index("| dpo |") < section.text.index("| dear |") < section.text.index("| lists |")
