"""A server on a free port for tests, and raw requests to it."""

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from guerdon.integrations.server import Limits, server
from guerdon.integrations.server.listening import address, around, listening


@dataclass(frozen=True)
class Running:
    """What a test needs of a server that runs in a thread of its own."""

    url: str
    port: int
    service: Any
    uvicorn: Any
    thread: threading.Thread

    def end(self) -> None:
        """Begin to shut down, as a signal would."""
        self.uvicorn.should_exit = True


@contextmanager
def running(reward: Any, limits: Limits | None = None, **settings: Any) -> Iterator[Running]:
    """A server on a free port of 127.0.0.1."""
    app = server(reward, limits=limits, **settings)
    with listening("127.0.0.1", 0) as listener:
        runner = around(app, limits)
        thread = threading.Thread(target=lambda: asyncio.run(runner.serve(sockets=[listener])), daemon=True)
        thread.start()
        until = time.monotonic() + 10
        while not runner.started and time.monotonic() < until:
            time.sleep(0.005)
        try:
            yield Running(address(listener), listener.getsockname()[1], app.state.service, runner, thread)
        finally:
            runner.should_exit = True
            thread.join(10)
            assert not thread.is_alive()


def raw(port: int, text: bytes, seconds: float = 5.0) -> bytes:
    """Send bytes and read until the server closes or ``seconds`` passed."""
    with socket.create_connection(("127.0.0.1", port), timeout=seconds) as wire:
        wire.sendall(text)
        return rest(wire)


def rest(wire: socket.socket) -> bytes:
    """All that comes until the other side closes or the time is up."""
    got = b""
    try:
        while chunk := wire.recv(65536):
            got += chunk
    except TimeoutError:
        pass
    return got
