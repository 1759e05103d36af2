"""The reward server: what it answers, what it refuses, and that no answer reaches the wrong request."""

import asyncio
import base64
import json
import logging
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
import torch
from fastapi.testclient import TestClient

from guerdon.batch import Channel, Scores
from guerdon.errors import GuerdonError, NeedsError
from guerdon.integrations.batching import Batcher, Busy, Rows
from guerdon.integrations.crossing import row_wise
from guerdon.integrations.server import Limits, server
from guerdon.integrations.server.listening import listening
from guerdon.rewards import Runner, bind, dispatch, gather, reward
from guerdon.rewards.interface import Reward
from guerdon.rewards.rules import Length, Match
from guerdon.shaping import mean, sigmoid, zscore
from tests.integrations.serving import raw, rest, running  # type: ignore[import-not-found,unused-ignore]


@reward(each=True)
def length(response):
    """Characters."""
    return float(len(response))


@reward
def fragile(responses):
    """1, but raises on a batch that holds 'bad'."""
    if "bad" in responses:
        raise KeyError("secret\nof several lines")
    return [1.0 for _ in responses]


@reward
def where_given(responses, answer):
    """1 where the answer is in the response, not applicable without one."""
    return [None if a is None else float(a in r) for r, a in zip(responses, answer, strict=True)]


class Broken(Reward):
    """FAILED on every row."""

    name = "broken"

    def score(self, samples, state, context):
        """NaN."""
        n = len(samples)
        status = torch.full((n,), 2, dtype=torch.int8)
        return Scores({"broken": Channel(torch.full((n,), float("nan")), status, note=["hung"] * n)}), state


class Slow(Reward):
    """Waits for ``gate`` before it gives the length; counts its calls."""

    name = "slow"

    def __init__(self):
        self.gate, self.begun, self.sizes = threading.Event(), threading.Event(), []

    def score(self, samples, state, context):
        """Characters."""
        self.sizes.append(len(samples))
        self.begun.set()
        assert self.gate.wait(10)
        return Scores({"slow": Channel(torch.tensor([float(len(t)) for t in samples.texts()]))}), state


def client(of, **settings):
    return TestClient(server(of, **settings))


def scored(c, responses, columns=None, **headers):
    body = {"prompts": ["p"] * len(responses), "responses": responses}
    return c.post("/score", json=body if columns is None else {**body, "columns": columns}, headers=headers)


# What it answers


def test_score_gives_values_statuses_and_components():
    found = scored(client(0.5 * length + 2 * where_given), ["four", "a"], {"answer": ["four", None]}).json()
    assert found["values"] == [pytest.approx(4.0), pytest.approx(0.5)]
    assert found["status"] == ["OK", "OK"]
    assert found["components"] == {"length": [4.0, 1.0], "where_given": [1.0, None]}


def test_invalid_stays_null_and_never_zero():
    """NeMo-RL#431: a reward that fails is told as 0."""
    assert scored(client(where_given), ["a"], {"answer": [None]}).json()["values"] == [None]
    found = scored(client(Broken()), ["a", "b"]).json()
    assert found["values"] == [None, None] and found["status"] == ["FAILED"] * 2 and found["notes"] == ["hung"] * 2


def test_messages_are_taken_as_prompts_and_responses():
    body = {"prompts": [[{"role": "user", "content": "?"}]], "responses": [[{"role": "assistant", "content": "four"}]]}
    assert client(length).post("/score", json=body).json()["values"] == [4.0]


def test_openrlhf_payload_and_its_words():
    body = {"query": ["Q: 2+2?A: 4</s>", "Q: 1?A: no"], "prompts": ["Q: 2+2?A: ", "Q: 1?A: "], "labels": ["4", "1"]}
    found = client(Match()).post("/get_reward", json=body).json()
    assert found["rewards"] == [1.0, 0.0] and found["scores"] == [1.0, 0.0]
    assert found["extra_logs"] == {"rewards/match": [1.0, 0.0], "rewards/match/valid": [1.0, 1.0]}


def test_an_empty_openrlhf_payload_is_answered():
    """With several servers OpenRLHF sends its one item to the first and empty lists to the others; an error there
    would lose the item's reward."""
    found = client(Match()).post("/get_reward", json={"query": [], "prompts": [], "labels": []})
    assert found.status_code == 200
    assert found.json() == {
        "rewards": [],
        "scores": [],
        "extra_logs": {"rewards/match": [], "rewards/match/valid": []},
    }


def test_slime_payload_gives_a_number_or_a_mapping():
    c = client(length + Match())
    body = {"prompt": "2+2", "response": "4", "label": "4"}
    assert c.post("/get_reward", json=body).json() == 2.0
    found = c.post("/get_reward?components=true", json=body).json()
    assert found == {"length": 1.0, "match": 1.0, "reward": 2.0}
    chat = {"prompt": [{"role": "user", "content": "2+2"}], "response": "5", "label": "4"}
    assert c.post("/get_reward", json=chat).json() == 1.0


def test_a_served_score_equals_the_local_one(tmp_path):
    """vllm#12791, ms-swift#10058: a served reward model scores otherwise than the same model at home."""
    from transformers import LlamaModel, PreTrainedTokenizerFast

    from guerdon.rewards.models import ModelReward, ScalarRewardModel
    from tests.rewards.conftest import tiny_config, tiny_tokenizer  # type: ignore[import-not-found,unused-ignore]

    tiny_tokenizer(tmp_path, encoder=False)
    torch.manual_seed(0)
    backbone = LlamaModel(tiny_config("llama"))
    mine = ModelReward(ScalarRewardModel(backbone, PreTrainedTokenizerFast.from_pretrained(tmp_path)))
    prompts, responses = [f"ask {i}" for i in range(12)], ["yes " * (1 + i % 5) for i in range(12)]
    local = bind(mine)(prompts, responses)
    with running(mine) as here, httpx.Client(base_url=here.url) as c, ThreadPoolExecutor(6) as pool:
        alone = pool.map(
            lambda i: c.post("/score", json={"prompts": [prompts[i]], "responses": [responses[i]]}).json()["values"][0],
            range(12),
        )
        assert list(alone) == pytest.approx(local, abs=1e-6)
        whole = c.post("/score", json={"prompts": prompts, "responses": responses}).json()["values"]
    assert whole == pytest.approx(local, abs=1e-6) and len(set(local)) > 3


# What trainers are told of rows without a valid reward


@pytest.mark.parametrize("body", [{"query": ["pa"], "prompts": ["p"], "labels": [None]},
                                  {"prompt": "p", "response": "a", "label": None}])  # fmt: skip
def test_the_policy_for_invalid_rows(body):
    """Never a silent zero; OpenRLHF would go on with None."""
    refused = client(where_given).post("/get_reward", json=body)
    assert refused.status_code == 422 and "NOT_APPLICABLE" in refused.json()["error"]
    failed = client(Broken()).post("/get_reward", json=body)
    assert failed.status_code == 500 and "FAILED: hung" in failed.json()["error"]

    def told(invalid):
        found = client(where_given, invalid=invalid).post("/get_reward", json=body).json()
        return found["rewards"] if isinstance(found, dict) else [found]

    assert told("nan") == [None]
    assert told(-1.0) == [-1.0]


def test_a_group_statistic_of_one_row_is_refused():
    """A z-score of one row is 0 whatever it is worth."""
    c = client(length.pipe(zscore("prompt")))
    refused = c.post("/get_reward", json={"prompt": "p", "response": "abc", "label": None})
    assert refused.status_code == 422 and "zscore" in refused.json()["error"]
    two = c.post("/get_reward", json={"query": ["pa", "pabc"], "prompts": ["p", "p"]}).json()["rewards"]
    assert two == [pytest.approx(-(0.5**0.5), abs=1e-5), pytest.approx(0.5**0.5, abs=1e-5)]


# What it refuses


@pytest.mark.parametrize(
    ("path", "body", "said"),
    [
        ("/score", b"{", "JSON"),
        ("/score", b"\xff\xfe", "JSON"),
        ("/score", b"[" * 100_000, "nested"),
        ("/score", b"[1]", "object, but a list"),
        ("/score", b"", "JSON"),
        ("/score", b'{"prompts": []}', "responses is missing"),
        ("/score", b'{"prompts": "p", "responses": []}', "prompts must be a list, but a text"),
        ("/score", b'{"prompts": ["p"], "responses": [3]}', r"responses\[0\] must be a text or .* a number"),
        ("/score", b'{"prompts": ["p"], "responses": []}', "responses must be as long as prompts"),
        ("/score", b'{"prompts": [], "response": []}', "'response' came"),
        ("/score", b'{"prompts": [], "responses": [], "columns": []}', "columns must be an object"),
        ("/score", b'{"prompts": [], "responses": [], "columns": {"a": 1}}', "columns.a must be a list"),
        ("/score", b'{"prompts": ["p"], "responses": ["r"], "columns": {"a": []}}', "columns.a must be as long"),
        ("/get_reward", b"{}", "query"),
        ("/get_reward", b'{"query": "q"}', "query must be a list"),
        ("/get_reward", b'{"query": ["q"]}', "prompts must come"),
        ("/get_reward", b'{"query": [null], "prompts": ["p"]}', r"query\[0\] must be a text, but a null"),
        ("/get_reward", b'{"query": ["q"], "prompts": ["p", "p"]}', "prompts must be as long as query"),
        ("/get_reward", b'{"query": ["xy"], "prompts": ["xz"]}', r"query\[0\] must begin with prompts\[0\]"),
        ("/get_reward", b'{"prompt": "p"}', "response is missing"),
        ("/get_reward", b'{"prompt": 3, "response": "r"}', "prompt must be a text"),
        ("/get_reward", b'{"prompt": "p", "response": ["r"]}', "response must be a text"),
    ],
)
def test_a_malformed_request_gets_one_sentence_that_names_the_field(path, body, said):
    refused = client(length).post(path, content=body)
    assert refused.status_code == 422
    assert refused.json().keys() == {"error"}
    assert refused.json()["error"].count("\n") == 0
    with pytest.raises(AssertionError, match=said):
        raise AssertionError(refused.json()["error"])


def test_a_missing_column_is_the_clients_fault():
    refused = scored(client(where_given), ["a"])
    assert refused.status_code == 422 and "'answer'" in refused.json()["error"]


def test_a_body_or_batch_that_is_too_large():
    c = client(length, limits=Limits(body=1000, rows=3))
    assert scored(c, ["a"] * 3).status_code == 200
    many = scored(c, ["a"] * 4)
    assert many.status_code == 413 and "3 rows" in many.json()["error"]
    large = scored(c, ["a" * 2000])
    assert large.status_code == 413 and "1000 bytes" in large.json()["error"]
    chunked = c.post("/score", content=iter([b"x" * 600, b"x" * 600]))
    assert chunked.status_code == 413


def test_an_oversized_upload_gets_its_answer_and_the_connection_lives_on():
    with running(length, Limits(body=1000, read_s=3)) as here, httpx.Client(base_url=here.url) as c:
        assert c.post("/score", content=b"x" * 3_000_000).status_code == 413
        assert c.post("/score", content=iter([b"x" * 100_000] * 20)).status_code == 413
        assert scored(c, ["abc"]).json()["values"] == [3.0]


def test_the_token_is_wanted_and_never_shown(caplog):
    caplog.set_level(logging.DEBUG)
    app = server(length, token="s3cret-token")
    c = TestClient(app)
    basic = base64.b64encode(b"any:s3cret-token").decode()
    assert scored(c, ["a"], Authorization="Bearer s3cret-token").status_code == 200
    assert scored(c, ["a"], Authorization=f"Basic {basic}").status_code == 200
    for wrong in ("Bearer no", "Bearer ", "Basic !", "Basic bm8=", "s3cret-token", "Bearer é"):
        refused = scored(c, ["a"], Authorization=wrong.encode("latin-1"))
        assert refused.status_code == 401 and refused.headers["www-authenticate"] == "Bearer"
        assert "s3cret" not in refused.text
    assert scored(c, ["a"]).status_code == 401
    assert c.get("/health").status_code == 200
    assert "s3cret" not in caplog.text and "s3cret" not in repr(app.state.service)
    with pytest.raises(GuerdonError, match="empty"):
        server(length, token=" ")


def test_what_cannot_be_served_is_refused_at_once():
    with pytest.raises(NeedsError, match="combine them"):
        server(gather(length, Match()))
    with pytest.raises(NeedsError, match="'accuracy'"):
        server(length, component="accuracy")
    with pytest.raises(GuerdonError, match="queued_rows"):
        Limits(rows=10, queued_rows=5)
    with pytest.raises(GuerdonError, match="body"):
        Limits(body=0)
    with listening("127.0.0.1", 0) as taken, pytest.raises(GuerdonError, match="another port"):
        listening("127.0.0.1", taken.getsockname()[1])


# Rewards that raise, hang or are slow


def test_a_reward_that_raises_fails_that_request_alone():
    """NeMo-RL#431 again: no zero in its place; and joint calls are tried again one request at a time."""
    batcher = Batcher(bind(fragile), together=True, wait_s=0.2)
    futures = [batcher.submit(Rows(["p"], [r])) for r in ("fine", "bad", "good")]
    assert [futures[i].result(5)[0].value for i in (0, 2)] == [1.0, 1.0]
    with pytest.raises(GuerdonError, match="KeyError"):
        futures[1].result(5)
    assert batcher.calls == 4
    assert batcher.close(5)
    failed = scored(client(fragile), ["bad"])
    assert failed.status_code == 500
    assert failed.json()["error"] == "The reward 'fragile' raised KeyError: 'secret\\nof several lines'."


def test_a_reward_that_ends_its_thread_does_not_end_the_server():
    @reward
    def leaving(responses):
        if responses == ["bad"]:
            raise SystemExit
        return [1.0]

    c = client(leaving)
    assert scored(c, ["bad"]).status_code == 500
    assert scored(c, ["fine"]).json()["values"] == [1.0]


def test_too_much_waits_scoring_takes_too_long_and_health_says_so():
    slow = Slow()
    app = server(slow, limits=Limits(rows=2, queued_rows=2, score_s=1.0))

    async def play():
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as c:

            def ask(*responses):
                return asyncio.create_task(
                    c.post("/score", json={"prompts": ["p"] * len(responses), "responses": list(responses)})
                )

            running, waiting = ask("a"), None
            await asyncio.to_thread(slow.begun.wait, 5)
            waiting = ask("b", "c")
            while app.state.service.batcher.waiting_rows < 2:
                await asyncio.sleep(0.005)
            full = await ask("d")
            assert full.status_code == 503 and full.headers["retry-after"] == "1" and "2 rows wait" in full.text
            assert [r.status_code for r in await asyncio.gather(running, waiting)] == [504, 504]
            stuck = await c.get("/health")
            assert stuck.status_code == 503 and stuck.json()["ready"] is False
            slow.gate.set()
            while not (await c.get("/health")).json()["ready"]:  # the stuck call ends when its thread gets its turn
                await asyncio.sleep(0.005)
            again = await ask("four")
            assert again.json()["values"] == [4.0]
            assert slow.sizes == [1, 1]  # what nobody waits for any more is not scored
            healthy = (await c.get("/health")).json()
            assert healthy["ready"] and healthy["name"] == "slow" and healthy["queued_rows"] == 0
            assert healthy["counts"] == {
                "requests": 4, "answered": 1, "refused": 1, "failed": 2, "gone": 0, "calls": 2, "rows": 2,
            }  # fmt: skip

    asyncio.run(play())


# Joining requests


def test_waiting_requests_are_scored_in_one_call_and_answered_apart():
    slow = Slow()
    batcher = Batcher(bind(slow), together=True, rows=6)
    first = batcher.submit(Rows(["p"], ["x"]))
    assert slow.begun.wait(5)
    rows = [Rows(["p"] * n, ["y" * (10 * n + i) for i in range(n)]) for n in (1, 2, 3, 4)]
    futures = [batcher.submit(r) for r in rows]
    slow.gate.set()
    assert [a.value for a in first.result(5)] == [1.0]
    for r, f in zip(rows, futures, strict=True):
        assert [a.value for a in f.result(5)] == [float(len(t)) for t in r.responses]
    assert slow.sizes == [1, 6, 4]  # at most six in one call, and no request in two


def test_requests_of_different_columns_or_kinds_are_not_joined():
    slow = Slow()
    batcher = Batcher(bind(slow), together=True)
    batcher.submit(Rows(["p"], ["x"]))
    assert slow.begun.wait(5)
    kinds = [
        Rows(["p"], ["x"], {"a": [1]}),
        Rows(["p"], ["x"], {"b": [1]}),
        Rows(["p"], [[{"role": "assistant", "content": "x"}]], {"b": [1]}),
    ]
    futures = [batcher.submit(r) for r in kinds]
    slow.gate.set()
    for f in futures:
        f.result(5)
    assert slow.sizes == [1, 1, 1, 1]


def test_only_what_is_known_to_be_row_wise_is_joined_by_default():
    assert row_wise(length) and row_wise(Length() + 0.5 * Match()) and row_wise(Length().pipe(sigmoid()))
    assert row_wise(dispatch("task", {"a": Length().gate(Match() > 0.5)}))
    assert row_wise(gather(Length(), Match()).combine(mean())) and row_wise(Length().pipe(zscore("running")))
    assert row_wise(Runner(fragile))
    assert not row_wise(fragile) and not row_wise(Length() + fragile) and not row_wise(Slow())
    assert not row_wise(Length().pipe(zscore("prompt"))) and not row_wise(Length().pipe(zscore("batch")))


def test_group_statistics_never_see_rows_of_another_request():
    z = length.pipe(zscore("prompt"))
    app = server(z, limits=Limits(wait_s=0.05))
    assert not app.state.service.batcher.together
    batches = [["a", "abc"], ["abcd", "abcdefgh", "ab"], ["a", "a"]]
    bound = bind(z)

    async def play():
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as c:
            bodies = [{"prompts": ["p"] * len(b), "responses": b} for b in batches]
            return await asyncio.gather(*(c.post("/score", json=b) for b in bodies))

    for batch, found in zip(batches, asyncio.run(play()), strict=True):
        assert found.json()["values"] == bound(["p"] * len(batch), batch)


def test_a_closed_batcher_finishes_what_it_has_and_takes_no_more():
    slow = Slow()
    batcher = Batcher(bind(slow), together=False)
    futures = [batcher.submit(Rows(["p"], ["x" * i])) for i in range(1, 4)]
    closing = threading.Thread(target=batcher.close)
    closing.start()
    assert slow.begun.wait(5)
    while not batcher._closed:
        time.sleep(0.001)
    with pytest.raises(Busy, match="shut down"):
        batcher.submit(Rows(["p"], ["x"]))
    slow.gate.set()
    closing.join(5)
    assert [f.result(0)[0].value for f in futures] == [1.0, 2.0, 3.0]


# Over a real wire


def test_slow_clients_are_told_so_and_hold_up_nobody():
    with running(length, Limits(read_s=0.4)) as here, httpx.Client(base_url=here.url) as c:
        head = b"POST /score HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n"
        with ThreadPoolExecutor(4) as pool:
            slow_body = pool.submit(raw, here.port, head + b'{"prompts"')
            slow_head = pool.submit(raw, here.port, b"POST /score HTTP/1.1\r\nHost:")
            silent = pool.submit(raw, here.port, b"")
            dripping = pool.submit(drip, here.port, head)
            began = time.monotonic()
            assert scored(c, ["abc"]).json()["values"] == [3.0]
            assert time.monotonic() - began < 0.4
            assert slow_body.result().startswith(b"HTTP/1.1 408") and b"within 0.4 s" in slow_body.result()
            assert slow_head.result().startswith(b"HTTP/1.1 408")
            assert silent.result() == b""
            assert dripping.result().startswith(b"HTTP/1.1 408")
        time.sleep(0.5)
        assert scored(c, ["abcd"]).json()["values"] == [4.0]  # an idle connection is not a slow one


def drip(port, head):
    """A byte now and then is as slow as none."""
    with socket.create_connection(("127.0.0.1", port), timeout=3) as wire:
        wire.sendall(head)
        try:
            for _ in range(20):
                wire.sendall(b" ")
                time.sleep(0.05)
        except OSError:
            pass
        return rest(wire)


def test_a_client_that_hangs_up_is_counted_and_harms_nobody(caplog):
    with running(length) as here:
        with socket.create_connection(("127.0.0.1", here.port)) as wire:
            wire.sendall(b"POST /score HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
        until = time.monotonic() + 5
        while here.service.counts.gone == 0 and time.monotonic() < until:
            time.sleep(0.005)
        assert here.service.counts.gone == 1
        with httpx.Client(base_url=here.url) as c:
            assert scored(c, ["abc"]).json()["values"] == [3.0]
    assert "Traceback" not in caplog.text


def test_shutting_down_finishes_what_was_taken():
    slow = Slow()
    with running(slow) as here, ThreadPoolExecutor(4) as pool:
        answers = [
            pool.submit(httpx.post, f"{here.url}/score", json={"prompts": ["p"], "responses": ["x" * n]}, timeout=10)
            for n in (1, 2, 3)
        ]
        until = time.monotonic() + 5
        while here.service.counts.requests < 3 and time.monotonic() < until:
            time.sleep(0.005)
        here.end()
        time.sleep(0.2)
        slow.gate.set()
        assert [a.result(10).json()["values"] for a in answers] == [[1.0], [2.0], [3.0]]
        here.thread.join(10)
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"{here.url}/health")


def test_a_short_load_loses_and_mixes_nothing():
    """The benchmark's own run, for two seconds."""
    from benchmarks.serving import load

    found = load({"seconds": 2.0, "rate": 60, "connections": 8, "read_s": 0.5})
    assert found["sent"] == 120 == found["answered"]
    assert found["lost"] == found["mixed"] == found["errors"] == 0
    assert found["hostile_unexpected"] == 0 and found["hostile"] >= 8
    assert json.dumps(found)
