"""The benchmark of tabular worlds: both arms find the same numbers, and its page reads what run gives."""

import math
from typing import Any

import numpy as np
import pytest

from benchmarks import segments, tabular

SMALL = {"count": 3, "states": 4, "actions": 2, "repeats": 1}


@pytest.mark.parametrize("form", tabular.FORMS)
def test_solvers_agree_with_numpy_loops(form: str) -> None:
    mine, theirs = tabular.ours(SMALL), tabular.peer({**SMALL, "form": form})
    assert set(mine) == set(theirs) == set(tabular.TASKS)
    for task in tabular.TASKS:
        a, b = (np.asarray(x[task]["values"]) for x in (mine, theirs))
        assert a.std() > 1e-3 and a.shape == b.shape
        assert np.abs(a - b).max() < 1e-8, task


def test_the_peers_solvers_by_hand() -> None:
    """One state that pays 1 for ever: V = 1/(1 − γ), soft V = (1 + τ log 2)/(1 − γ) of two equal actions."""
    loop, paid = np.ones((1, 2, 1)), np.ones((1, 2))
    for form in tabular.FORMS:
        backup = tabular._backup(form, loop, paid)
        assert tabular.iterate(backup, 1, tabular._largest)[0] == pytest.approx(20, abs=1e-9)
        soft = (1 + tabular.TEMPERATURE * math.log(2)) * 20
        assert tabular.iterate(backup, 1, tabular._soft)[0] == pytest.approx(soft, abs=1e-9)
        assert tabular.improve(backup, loop, paid)[0] == pytest.approx(20)
    assert tabular.visits(loop, np.full((1, 2), 0.5), np.ones(1)) == pytest.approx(np.full((1, 2), 10.0))


def test_segments_train_alike() -> None:
    settings = {"pairs": 40, "epochs": 2}
    given = segments.problem(settings)
    assert [len(b) for b in given.order] == [32, 8, 32, 8]
    mine = segments.ours(settings)["losses"]
    net, loss = segments._loop(given)
    assert np.abs(np.asarray(mine) - segments._trained(net, loss, given.order)["losses"]).max() < 1e-5
    falling = segments.ours({"pairs": 32, "epochs": 30})["losses"]
    assert falling[-1] < falling[0] - 0.05
    pytest.importorskip("imitation.algorithms.preference_comparisons")
    assert np.abs(np.asarray(mine) - segments.peer(settings)["losses"]).max() < 1e-5


def test_the_page_takes_the_fastest_of_each_arm_and_says_which_peer_ran(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = iter([4.0, 2.0, 3.0, 8.0, 0.5, 1.0])

    def arm(call: str, settings: dict[str, Any], *, threads: int) -> dict[str, Any]:
        took = next(seconds)
        return {task: {"seconds": took, "values": [took * 0, 1.0]} for task in tabular.TASKS}

    def train(call: str, settings: dict[str, Any], *, threads: int) -> dict[str, Any]:
        return {"name": "a loop", "why": "No module", "seconds": 2.0 if "peer" in call else 0.25, "losses": [0.7, 0.5]}

    monkeypatch.setattr(tabular, "fresh", arm)
    monkeypatch.setattr(segments, "fresh", train)
    section = tabular.page(tabular.run([{"count": 3, "states": 4, "actions": 2, "bound": 1.5}]))
    ratios = {r.what: r for r in section.ratios}
    assert ratios["value iteration, 3 × 4 states × 2 actions: peer's time over ours"].value == 4.0
    assert ratios["segments: updates a second over the peer's"].value == 8.0
    assert all(r.holds for r in section.ratios)
    assert "No module" in section.text and "a loop" in section.text
