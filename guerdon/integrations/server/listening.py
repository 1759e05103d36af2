"""An application on a port: a socket that listens, uvicorn around it, an end to clients that never finish a request."""

import asyncio
import contextlib
import math
import socket
from collections.abc import Callable
from functools import partial
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from guerdon.errors import GuerdonError
from guerdon.integrations.server.limits import Limits

KEEP_ALIVE = 30
"""Seconds an idle connection stays open."""

TOO_SLOW = b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


class Patience(H11Protocol):
    """uvicorn's protocol, with a limit on the seconds from a request's first byte (or the connection) until its head
    is whole; uvicorn itself would wait for ever. What is sent after a refusal is under the same limit."""

    def __init__(self, *args: Any, patience: float, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._patience = patience
        self._started = False
        self._end: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Begin to wait for the first request."""
        super().connection_made(transport)
        self._wait()

    def data_received(self, data: bytes) -> None:
        """Wait on where no request is being answered."""
        self._started = True
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:
            self._stop()
        else:
            self._wait()

    def on_response_complete(self) -> None:
        """Between requests the keep-alive limit counts."""
        self._stop()
        self._started = False
        super().on_response_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        self._stop()
        super().connection_lost(exc)

    def _wait(self) -> None:
        if self._end is None:
            self._end = self.loop.call_later(self._patience, self._give_up)

    def _stop(self) -> None:
        if self._end is not None:
            self._end.cancel()
            self._end = None

    def _give_up(self) -> None:
        if not self.transport.is_closing():
            if self._started:
                self.transport.write(TOO_SLOW)
            self.transport.close()


def listening(host: str, port: int) -> socket.socket:
    """A socket that listens; port 0 takes a free one. Raises GuerdonError where the system refuses."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=2048)
    except (OSError, OverflowError) as error:
        raise GuerdonError(
            f"The server cannot listen on {host} port {port}: {error}; choose another port (0 takes a free one) or "
            "address."
        ) from error


def address(listener: socket.socket) -> str:
    """The URL of a listening socket."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def around(app: Any, limits: Limits | None = None) -> uvicorn.Server:
    """uvicorn around the application; ``run(sockets=[…])`` starts it, ``should_exit = True`` ends it. When it ends it
    takes no more connections and answers what it has taken."""
    chosen = limits or Limits()
    config = uvicorn.Config(
        app,
        http=partial(Patience, patience=chosen.read_s),  # type: ignore[arg-type,unused-ignore]
        ws="none",
        lifespan="on",
        log_level="warning",
        access_log=False,
        server_header=False,
        limit_concurrency=chosen.connections,
        timeout_keep_alive=KEEP_ALIVE,
        timeout_graceful_shutdown=math.ceil(chosen.read_s + chosen.score_s) + 1,
    )
    return uvicorn.Server(config)


def serve(
    app: Any,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    limits: Limits | None = None,
    started: Callable[[str], None] | None = None,
) -> None:
    """Serve until SIGINT or SIGTERM, then finish what was taken.

    host: only this machine reaches the default. limits: those of the application (time to read a head, connections);
    its own are taken where it is one of ``server``. started: called with the URL once the port is held. Raises
    GuerdonError where the port cannot be had.
    """
    service = getattr(getattr(app, "state", None), "service", None)
    with listening(host, port) as listener:
        if started is not None:
            started(address(listener))
        # uvicorn raises it again after its clean end.
        with contextlib.suppress(KeyboardInterrupt):
            around(app, limits or getattr(service, "limits", None)).run(sockets=[listener])
