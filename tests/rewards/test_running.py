"""Rewards beside generation: what raises, hangs or dies costs its own row and nothing else."""

import sys
import threading
import time
from concurrent.futures import Future
from pathlib import Path

import pytest
import torch

from guerdon.batch import Channel, Samples, Status
from guerdon.errors import GuerdonError, RewardError
from guerdon.rewards import Context, reward
from guerdon.rewards.running import Runner
from guerdon.rewards.workers import Workers

MODULE = """
import os, threading, time
from guerdon.rewards import reward

@reward(each=True)
def moody(response):
    print("chatter on stdout must not break the protocol")
    if response == "raise":
        raise ValueError("no good")
    if response == "hang":
        while True:
            pass
    if response == "die":
        os._exit(3)
    if response == "none":
        return None
    return len(response)

@reward(each=True)
def flaky(response):
    path = response
    with open(path, "a") as file:
        file.write("x")
    if os.path.getsize(path) < 3:
        raise RuntimeError("not yet")
    return 1.0

@reward(each=True)
def drawn(context):
    return context.seed.integer(20)
"""


@pytest.fixture(scope="module")
def mine(tmp_path_factory: pytest.TempPathFactory):
    folder: Path = tmp_path_factory.mktemp("rewards")
    (folder / "moody_rewards.py").write_text(MODULE)
    sys.path.insert(0, str(folder))
    import moody_rewards

    yield moody_rewards
    sys.path.remove(str(folder))
    del sys.modules["moody_rewards"]


def rows(*responses: str) -> Samples:
    return Samples(None, ["p"] * len(responses), list(responses))


def shown(channel: Channel) -> list:
    return [
        v if s == Status.OK else Status(s).name
        for v, s in zip(channel.value.tolist(), channel.statuses().tolist(), strict=True)
    ]


def test_raising_hanging_and_dying_rows_fail_alone(mine) -> None:
    """verifiers and NeMo-RL gave 0 for an exception, and a hung sample blocked the pool for ever (verl#5635)."""
    with Runner(mine.moody, timeout_s=1.0, workers=2) as runner:
        out: list[Channel] = []

        def off_the_main_thread() -> None:
            out.append(runner.submit(rows("ab", "raise", "hang", "die", "none", "abc")).result(60).only())

        thread = threading.Thread(target=off_the_main_thread)
        thread.start()
        thread.join()
        channel = out[0]
        assert shown(channel) == [2.0, "FAILED", "FAILED", "FAILED", "NOT_APPLICABLE", 3.0]
        assert channel.note is not None
        assert "ValueError: no good" in channel.note[1]
        assert "timed out after 1 s" in channel.note[2]
        assert "ended" in channel.note[3]
        counts = runner.counts.as_dict()
        assert counts.pop("seconds") > 0
        assert counts == {"ok": 3, "failed": 3, "timed_out": 1, "retried": 0}
        # the pool still works after all that, from the main thread too
        assert shown(runner.score(rows("abcd"), {}, Context())[0].only()) == [4.0]


def test_retries_and_their_counts(mine, tmp_path: Path) -> None:
    with Runner(mine.flaky, retries=2) as runner:
        channel = runner.score(rows(str(tmp_path / "a")), {}, Context())[0].only()
        assert shown(channel) == [1.0]
        assert (runner.counts.ok, runner.counts.retried, runner.counts.failed) == (1, 2, 0)
        # each row draws from its own key, wherever it runs
        assert runner.needs == ()
    with Runner(mine.drawn) as runner:
        seed = Context().seed
        got = runner.score(rows("a", "b"), {}, Context())[0].only().value.tolist()
        assert got == [seed.child("row", i).integer(20) for i in range(2)]


def test_what_happens_to_failures_is_chosen(mine) -> None:
    boom = reward(each=True)(lambda response: 1 / 0)
    left_out = Runner(boom, on_failure="not_applicable", isolate="thread")
    assert shown(left_out.score(rows("a"), {}, Context())[0].only()) == ["NOT_APPLICABLE"]
    with pytest.raises(RewardError, match=r"failed on row 0: .*ZeroDivisionError"):
        Runner(boom, on_failure="raise", isolate="thread").score(rows("a"), {}, Context())
    with pytest.raises(GuerdonError, match="on_failure"):
        Runner(boom, on_failure="zero")


def test_threads_time_out_too() -> None:
    released = threading.Event()
    slow = reward(name="slow", each=True)(lambda response: released.wait(30) if response == "hang" else 1.0)
    with Runner(slow, timeout_s=0.2, isolate="thread", workers=1) as runner:
        assert shown(runner.score(rows("hang", "ok"), {}, Context())[0].only()) == ["FAILED", 1.0]
        assert runner.counts.timed_out == 1
    released.set()


def test_submit_returns_before_the_scores_are_there() -> None:
    gate = threading.Event()
    waiting = reward(name="waiting", each=True)(lambda response: float(gate.wait(30)))
    with Runner(waiting, isolate="thread") as runner:
        future: Future = runner.submit(rows("a"))
        assert not future.done()
        gate.set()
        assert shown(future.result(30).only()) == [1.0]


def test_the_clock_of_a_call_starts_when_a_worker_starts_it(mine) -> None:
    """Time in the queue must not count (verifiers: event-loop lag counted as timeout)."""
    pool = Workers(1)
    pending = [pool.submit(time.sleep, 0.4, timeout_s=5.0) for _ in range(3)]
    outcomes = [f.result(60) for f in pending]
    assert [o.status for o in outcomes] == ["ok"] * 3
    assert all(o.seconds < 5.0 for o in outcomes)
    pool.close()
    with pytest.raises(GuerdonError, match="closed"):
        pool.submit(time.sleep, 0)


def test_what_cannot_travel_is_refused_clearly() -> None:
    with pytest.raises(GuerdonError, match="importable and picklable"):
        Workers(1).submit(lambda: 1)


def test_a_runner_takes_part_in_the_algebra(mine) -> None:
    safe = Runner(reward(each=True, name="size")(lambda response: len(response)), isolate="thread")
    node = 2 * safe + 1
    assert shown(node.score(rows("ab"), node.init(), Context())[0].only()) == [5.0]


def test_rewards_of_steps_and_state_are_refused() -> None:
    steps = reward(name="steps")(lambda samples: torch.zeros(len(samples), 2))
    with pytest.raises(RewardError, match="one a step"):
        Runner(steps, isolate="thread").score(rows("a"), {}, Context())
