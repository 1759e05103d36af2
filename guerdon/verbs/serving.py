"""A reward as an HTTP server."""

import os
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from guerdon.errors import GuerdonError
from guerdon.rewards import Reward
from guerdon.verbs import schema
from guerdon.verbs.options import ServeOptions
from guerdon.verbs.reward import check_device, thread_count
from guerdon.verbs.scoring import weights
from guerdon.verbs.signal import one_channel
from guerdon.verbs.stored import load_any


def serve(
    reward: Reward | str | Path,
    *,
    options: ServeOptions | None = None,
    token: str | None = None,
    started: Callable[[dict[str, Any]], None] | None = None,
    **settings: Any,
) -> dict[str, int]:
    """Serve any reward, or what ``load_any`` finds by name, until SIGINT or SIGTERM; what was asked and answered
    (``server.app.Counts``). See ``guerdon.integrations.server.server`` for what it answers.

    token: what clients must send, instead of the environment variable ``token_env``. started: called once the port is
    held, with url, name, together and whether a token is wanted. settings: fields of ``ServeOptions``. Raises
    GuerdonError for a bad reward, a variable that is not set, or a port that cannot be had.
    """
    from guerdon.integrations.server import Limits, server
    from guerdon.integrations.server import serve as run

    chosen = options if options is not None else schema.build(ServeOptions, settings)
    check_device(chosen.device)
    secret = token if token is not None else secret_of(chosen.token_env)
    inner = reward if isinstance(reward, Reward) else load_any(reward, chosen.device, chosen.trust)
    app = server(
        one_channel(inner, chosen.combine),
        token=secret,
        together=chosen.together,
        limits=Limits(
            body=round(chosen.max_body * 2**20),
            rows=chosen.max_rows,
            queued_rows=max(chosen.max_queued, chosen.max_rows),
            read_s=chosen.read_seconds,
            score_s=chosen.score_seconds,
        ),
        invalid=told_of(chosen.invalid),
        query=chosen.query,
        label=chosen.label,
    )
    service = app.state.service

    def begin(url: str) -> None:
        if started is not None:
            about = {"name": service.bound.reward.name, "together": service.batcher.together}
            started({"url": url, **about, "token": secret is not None})

    with thread_count(chosen.threads, weights(inner)):
        run(app, host=chosen.host, port=chosen.port, started=begin)
    return asdict(service.counts)


def secret_of(variable: str | None) -> str | None:
    """The value of an environment variable, None where none is named. Raises GuerdonError where it is not set."""
    if variable is None:
        return None
    found = os.environ.get(variable, "").strip()
    if not found:
        raise GuerdonError(
            f"The token was expected in the environment variable {variable}, but it is not set or empty."
        )
    return found


def told_of(text: str) -> float | str:
    """'raise', 'nan' or a number. Raises GuerdonError for anything else."""
    if text in ("raise", "nan"):
        return text
    try:
        return float(text)
    except ValueError:
        raise GuerdonError(f"invalid must be 'raise', 'nan' or a number, but {text!r} came.") from None
