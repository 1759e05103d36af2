"""The application: /score, /get_reward, /health."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Unpack

from fastapi import FastAPI, Request, Response

from guerdon import __version__
from guerdon.errors import GuerdonError, RewardError
from guerdon.integrations.batching import Batcher, Busy, Rows
from guerdon.integrations.graphs import group_need
from guerdon.integrations.openrlhf import Options, Words, one_channel
from guerdon.integrations.server import payloads
from guerdon.integrations.server.limits import Limits
from guerdon.integrations.server.payloads import Tell
from guerdon.integrations.server.requests import Gone, Refused, authorise, body, decoded, reply
from guerdon.rewards.bind import Answer, Bound, component_names
from guerdon.rewards.interface import Reward


@dataclass
class Counts:
    """requests: that came. answered: with scores. refused: for what they asked, or for want of room. failed: the reward
    raised or took too long. gone: clients that hung up."""

    requests: int = 0
    answered: int = 0
    refused: int = 0
    failed: int = 0
    gone: int = 0


@dataclass(frozen=True)
class Service:
    """What the endpoints share. Not printed whole: it holds the token."""

    bound: Bound
    batcher: Batcher
    limits: Limits
    words: Words
    token: str | None
    counts: Counts

    def __repr__(self) -> str:
        return f"Service({self.bound.reward.name!r})"


def server(
    reward: Reward | Bound,
    *,
    token: str | None = None,
    together: bool | None = None,
    limits: Limits | None = None,
    **options: Unpack[Options],
) -> FastAPI:
    """The reward as an application; ``serve`` runs it.

    POST /score: {"prompts", "responses", "columns"} -> {"values" (null where invalid), "status", "components",
    "notes"}. POST /get_reward: OpenRLHF's {"query", "prompts", "labels"} -> {"rewards", "scores", "extra_logs"}, or
    slime's {"prompt", "response", "label"} -> a number (with ?components=true a mapping with 'reward'). GET /health:
    readiness (status 503 where not), name, version, queue and counts; it asks for no token.

    token: clients must send it. options: fields of ``openrlhf.Words``: how hosts' payloads are read, and what they are
    told of a row without a valid reward: 'raise' refuses the request (500 where the reward failed, 422 where it does
    not apply), 'nan' gives null, since JSON has no NaN.

    together: whether waiting requests may be scored in one call of the reward; by default where every score is known to
    depend on its own row alone (``crossing.row_wise``), so that group statistics never see rows of another request.
    Answers of a request never depend on what others sent, except for rounding; where a joint call raises, each request
    is scored again alone. State is frozen.

    Refusals are {"error": one sentence}: 401 token, 408 body too slow, 413 too large, 422 malformed, 500 the reward
    raised, 503 too much waits (with Retry-After), 504 scoring took too long. Raises NeedsError where the reward has
    several channels.
    """
    if token is not None and not token.strip():
        raise GuerdonError("The token must not be empty; leave it out for a server without one.")
    bound, chosen = one_channel(reward), limits or Limits()
    batcher = Batcher(
        bound, together=together, rows=chosen.together, wait_s=chosen.wait_s, queued_rows=chosen.queued_rows
    )
    service = Service(bound, batcher, chosen, Words(**options).fitting(bound.reward), token, Counts())

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        await asyncio.to_thread(batcher.close, chosen.score_s)

    app = FastAPI(title=bound.reward.name, version=__version__, lifespan=lifespan, openapi_url=None)
    names = list(component_names(bound.reward).values())
    group = group_need(bound.reward)

    @app.post("/score")
    async def score(request: Request) -> Response:
        return await _answered(service, request, lambda data: (payloads.native(data), payloads.tell_native(names)))

    @app.post("/get_reward")
    async def get_reward(request: Request) -> Response:
        whole = request.query_params.get("components", "false").lower() in ("true", "1")
        host = partial(_of_a_host, names=names, group=group, words=service.words, components=whole)
        return await _answered(service, request, host)

    @app.get("/health")
    async def health() -> Response:
        stuck = batcher.busy_for() > chosen.score_s
        found = {
            "ready": not stuck,
            "name": bound.reward.name,
            "version": __version__,
            "together": batcher.together,
            "queued_rows": batcher.waiting_rows,
            "counts": {**asdict(service.counts), "calls": batcher.calls, "rows": batcher.scored_rows},
        }
        return reply(503 if stuck else 200, found)

    app.state.service = service
    return app


def _of_a_host(
    data: Mapping[str, Any], *, names: list[str], group: str | None, words: Words, components: bool
) -> tuple[Rows, Tell]:
    """Rows of OpenRLHF's or slime's payload, told apart by their fields."""
    if "query" in data:
        rows, tell = payloads.openrlhf(data, words), payloads.tell_openrlhf(names, words)
    elif "prompt" in data or "response" in data:
        rows, tell = payloads.slime(data, words), payloads.tell_slime(words, components)
    else:
        raise Refused(
            422, "The body must have the field query (with prompts and labels), or prompt and response (with label)."
        )
    if group is not None and len(rows) == 1:
        raise Refused(
            422,
            f"{group!r} reads statistics of a group of rows, but this request holds one row; leave it out and "
            "normalise in the trainer.",
        )
    return rows, tell


async def _answered(
    service: Service, request: Request, parse: Callable[[dict[str, Any]], tuple[Rows, Tell]]
) -> Response:
    counts = service.counts
    counts.requests += 1
    try:
        authorise(request.headers.get("authorization"), service.token)
        rows, tell = parse(decoded(await body(request, service.limits)))
        found = tell(await _scored(service, rows))
    except Refused as refused:
        if refused.status in (500, 504):
            counts.failed += 1
        else:
            counts.refused += 1
        return reply(refused.status, {"error": refused.sentence}, refused.headers)
    except Gone:
        counts.gone += 1
        return Response(status_code=400)  # to nobody
    counts.answered += 1
    return reply(200, found)


async def _scored(service: Service, rows: Rows) -> list[Answer]:
    """Answers of the rows, none of no rows: OpenRLHF sends such requests to all but the first of several servers."""
    limits = service.limits
    if len(rows) > limits.rows:
        raise Refused(413, f"A request may hold {limits.rows} rows, but this one holds {len(rows)}.")
    if not len(rows):
        return []
    try:
        future = service.batcher.submit(rows)
    except Busy as busy:
        raise Refused(503, f"{busy} Ask again later.", {"Retry-After": "1"}) from None
    try:
        return await asyncio.wait_for(asyncio.wrap_future(future), limits.score_s)
    except TimeoutError:
        raise Refused(504, f"These rows were not scored within {limits.score_s:g} s.") from None
    except RewardError as error:
        raise Refused(500, str(error)) from None
    except GuerdonError as error:
        raise Refused(422, str(error)) from None
