"""The reward server under load: 200 requests a second for a minute, every one with its own expected answer, while
clients that are slow, wrong or too large come in between.

The server runs in a process of its own on 127.0.0.1, the clients in another. Requests are sent at their times whether
or not earlier ones are answered, and latency counts from those times. GUERDON_SERVING_SECONDS makes the run shorter.
"""

import asyncio
import json
import os
import signal
import statistics
import subprocess
import sys
import time
import zlib
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from benchmarks import arms
from benchmarks.page import Ratio, Section, table
from benchmarks.wire import Wire, fetch, slowly

TITLE = "The reward server under load"
SETTINGS: Mapping[str, Any] = {
    "seconds": 60.0,
    "rate": 220,  # above the 200 that must be answered, so that start and end do not decide
    "connections": 64,
    "call_s": 0.004,  # what one call of the reward takes at least: one request a call would not keep up
    "read_s": 2.0,
    "patience_s": 20.0,
}
BODY, ROWS = 1_000_000, 64
RAISING = "raise, please"
READY = 60.0
"""Seconds the server may take to start."""


def expected(prompt: str, response: str, label: str) -> float | None:
    """The reward's value: a number that no other texts are likely to have, exact in float32; None for one in 32."""
    code = zlib.crc32(f"{prompt}\0{response}\0{label}".encode())
    return None if code % 32 == 0 else (code % 2**22) / 1024 - 2048


# The server's process.


def serving(settings: Mapping[str, Any]) -> None:
    """Print the URL and serve until SIGINT."""
    from guerdon.integrations.server import Limits, serve, server
    from guerdon.rewards import reward

    @reward
    def checksum(prompts: list[str], responses: list[str], label: list[str]) -> list[float | None]:
        time.sleep(settings["call_s"])
        if RAISING in prompts:
            raise RuntimeError("asked to")
        return [expected(*row) for row in zip(prompts, responses, label, strict=True)]

    limits = Limits(body=BODY, rows=ROWS, read_s=settings["read_s"])
    app = server(checksum, together=True, limits=limits, invalid="nan")
    serve(app, port=0, started=lambda url: print(url, flush=True))


@asynccontextmanager
async def served(settings: Mapping[str, Any]) -> AsyncIterator[int]:
    """The port of a server in a process of its own, which is ended with the block."""
    command = [sys.executable, "-m", "benchmarks.serving", json.dumps(dict(settings))]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=arms.ROOT)
    assert process.stdout is not None
    try:
        line = await asyncio.wait_for(asyncio.to_thread(process.stdout.readline), READY)
        if not line:
            raise RuntimeError("The server ended before it listened.")
        yield int(line.strip().rpartition(":")[2])
    finally:
        process.send_signal(signal.SIGINT)
        try:
            await asyncio.to_thread(process.wait, 30)
        except subprocess.TimeoutExpired:
            process.kill()
        process.stdout.close()


# The clients' process.


@dataclass(frozen=True)
class Request:
    """What is sent, and the status and value that must come back."""

    path: str
    body: Any
    status: int
    values: Sequence[float | None]
    key: str | None

    def right(self, status: int, body: bytes) -> bool:
        """Whether this is this request's own answer."""
        if status != self.status:
            return False
        told = json.loads(body)
        return (told if self.key is None else told[self.key]) == (
            self.values[0] if self.key is None else list(self.values)
        )


def request(i: int) -> Request:
    """The i-th request: our own payload of one to eight rows, OpenRLHF's, or slime's."""
    prompt, label = f"prompt {i}: ", f"label {i}"
    if i % 4 == 2:
        response = f"answer {i}" * (1 + i % 7)
        body: Any = {"query": [prompt + response], "prompts": [prompt], "labels": [label]}
        return Request("/get_reward", body, 200, [expected(prompt, response, label)], "rewards")
    if i % 4 == 3:
        body = {"prompt": prompt, "response": f"reply {i}", "label": label}
        return Request("/get_reward", body, 200, [expected(prompt, f"reply {i}", label)], None)
    responses = [f"text {i}.{j} " * (1 + j) for j in range(1 + i % 8)]
    n = len(responses)
    body = {"prompts": [prompt] * n, "responses": responses, "columns": {"label": [label] * n}}
    return Request("/score", body, 200, [expected(prompt, r, label) for r in responses], "values")


HEAD = b"POST /score HTTP/1.1\r\nHost: x\r\n"
HOSTILE: Sequence[tuple[str, int, str, bytes | None]] = (
    ("malformed body", 422, "/score", b'{"prompts": ['),
    ("wrong type", 422, "/get_reward", b'{"query": "q"}'),
    ("unequal lists", 422, "/score", b'{"prompts": ["p"], "responses": []}'),
    ("body too large", 413, "/score", b" " * (2 * BODY)),
    ("too many rows", 413, "/score", json.dumps({"prompts": ["p"] * 65, "responses": ["r"] * 65}).encode()),
    (
        "reward that raises",
        500,
        "/score",
        json.dumps({"prompts": [RAISING], "responses": ["r"], "columns": {"label": ["l"]}}).encode(),
    ),
    ("slow head", 408, HEAD.decode(), None),
    ("slow body", 408, (HEAD + b'Content-Length: 50\r\n\r\n{"prompts"').decode(), None),
)
"""(what, the status it must get, path, body): one of them every tenth of a second; without a body it is a slow one."""


async def hostile(port: int, kind: int, patience: float) -> tuple[str, bool]:
    """One of them: (what it was, whether it got its status)."""
    what, status, path, body = HOSTILE[kind]
    try:
        async with asyncio.timeout(patience):
            if body is None:
                return what, await slowly(port, path.encode()) == status
            wire = Wire(port)
            try:
                return what, (await wire.ask(path, body))[0] == status
            finally:
                wire.close()
    except (TimeoutError, OSError, EOFError):
        return what, False


async def _load(settings: Mapping[str, Any]) -> dict[str, Any]:
    count = round(settings["seconds"] * settings["rate"])
    taken: list[float] = []
    outcome: Counter[str] = Counter()
    async with served(settings) as port:
        wires: asyncio.Queue[Wire] = asyncio.Queue()
        for _ in range(settings["connections"]):
            wires.put_nowait(Wire(port))
        begun = time.perf_counter() + 0.05

        async def one(i: int) -> None:
            wanted, due = request(i), begun + i / settings["rate"]
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            wire = await wires.get()
            try:
                async with asyncio.timeout(settings["patience_s"]):
                    status, body = await wire.ask(wanted.path, json.dumps(wanted.body).encode())
                right = wanted.right(status, body)
                outcome["answered" if right else "mixed" if status == wanted.status else "errors"] += 1
            except (TimeoutError, OSError, EOFError):
                return  # lost
            finally:
                wires.put_nowait(wire)
            taken.append(time.perf_counter() - due)

        async def other(k: int) -> tuple[str, bool]:
            await asyncio.sleep(max(0.0, begun + k / 10 - time.perf_counter()))
            return await hostile(port, k % len(HOSTILE), settings["patience_s"])

        others = [asyncio.create_task(other(k)) for k in range(max(len(HOSTILE), int(10 * settings["seconds"])))]
        # Tasks are made as their time comes: thousands of sleeping ones would cost the event loop its time.
        running: set[asyncio.Task[None]] = set()
        for i in range(count):
            await asyncio.sleep(max(0.0, begun + i / settings["rate"] - time.perf_counter()))
            task = asyncio.create_task(one(i))
            running.add(task)
            task.add_done_callback(running.discard)
        while running:
            await asyncio.wait(running)
        wall = time.perf_counter() - begun
        found = await asyncio.gather(*others)
        health = await fetch(port)
        while not wires.empty():
            wires.get_nowait().close()
    right = Counter(what for what, well in found if well)
    return {
        "sent": count,
        **{name: outcome[name] for name in ("answered", "mixed", "errors")},
        "lost": count - outcome.total(),
        "wall_s": wall,
        "rate": outcome["answered"] / wall,
        "p50_ms": 1000 * statistics.median(taken),
        "p99_ms": 1000 * sorted(taken)[min(len(taken) - 1, int(0.99 * len(taken)))],
        "hostile": len(found),
        "hostile_unexpected": len(found) - sum(right.values()),
        "hostile_by_kind": dict(Counter(what for what, _ in found)),
        "counts": health["counts"],
    }


def load(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The run: what was sent, answered, mixed up and lost, and how long answers took."""
    return asyncio.run(_load({**SETTINGS, **settings}))


def run() -> dict[str, Any]:
    """The load at its full length."""
    settings = {**SETTINGS, "seconds": float(os.environ.get("GUERDON_SERVING_SECONDS", SETTINGS["seconds"]))}
    found = arms.fresh("benchmarks.serving:load", settings)
    print(", ".join(f"{name} {found[name]}" for name in ("sent", "answered", "mixed", "lost", "errors")), flush=True)
    return {"settings": settings, **found}


def page(result: Mapping[str, Any]) -> Section:
    """Counts, latency, and what became of the others."""
    s, c = result["settings"], result["counts"]
    rows = [
        ("sent", result["sent"]),
        ("answered with their own answer", result["answered"]),
        ("answered with another's", result["mixed"]),
        ("lost", result["lost"]),
        ("errors", result["errors"]),
        ("answered a second", result["rate"]),
        ("latency, median (ms)", result["p50_ms"]),
        ("latency, 99 % (ms)", result["p99_ms"]),
        ("rows scored", c.get("rows", 0)),
        ("calls of the reward", c.get("calls", 0)),
    ]
    others = [(what, number) for what, number in result["hostile_by_kind"].items()]
    text = f"""`guerdon.integrations.server` on 127.0.0.1, in a process of its own, is sent {s["rate"]} requests a
second for {s["seconds"]:g} s over {s["connections"]} connections, at fixed times: half in its own words (1 to 8 rows),
a quarter in OpenRLHF's, a quarter in slime's. The reward is a checksum of prompt, response and label, so that an answer
to another request shows; one row in 32 is invalid, and one call takes at least {1000 * s["call_s"]:g} ms, so that
requests must be joined to keep up. Latency counts from the time a request was due. There is no peer: OpenRLHF's own
server takes one request at a time.

{table(("", ""), rows)}

In between, ten times a second, others came, of which {result["hostile_unexpected"]} did not get the status they should:

{table(("", "times"), others)}
"""
    return Section(
        text,
        (
            Ratio("requests lost", result["lost"] + result["errors"], 0, at_least=False),
            Ratio("answers mixed up", result["mixed"], 0, at_least=False),
            Ratio("requests answered a second", result["rate"], 200),
            Ratio("others without a clean answer", result["hostile_unexpected"], 0, at_least=False),
        ),
    )


if __name__ == "__main__":
    serving(json.loads(sys.argv[1]))
