"""Reading a request within its limits, and refusing it with a status and one sentence."""

import asyncio
import base64
import binascii
import hmac
import json
from collections.abc import Mapping
from typing import Any

from fastapi import Request, Response
from starlette.requests import ClientDisconnect

from guerdon.integrations.server.limits import Limits

LONGEST = 1000
"""Characters of a sentence: what a reward raised may quote whole responses."""


class Refused(Exception):
    """A request that gets no scores: the status, the sentence, and more headers."""

    def __init__(self, status: int, sentence: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(sentence)
        self.status, self.headers = status, dict(headers or {})
        flat = " ".join(sentence.split())
        self.sentence = flat if len(flat) <= LONGEST else flat[: LONGEST - 1] + "…"


class Gone(Exception):
    """The client hung up."""


def reply(status: int, value: Any, headers: Mapping[str, str] | None = None) -> Response:
    """A JSON answer. In ASCII: texts of clients may hold what UTF-8 does not."""
    return Response(json.dumps(value, allow_nan=False), status, headers, media_type="application/json")


def authorise(authorization: str | None, token: str | None) -> None:
    """Compare the header with the token in constant time: ``Bearer TOKEN``, or ``Basic`` with the token as password,
    which is what hosts send for http://any:TOKEN@host/. Raises Refused (401) where they differ."""
    if token is None:
        return
    kind, _, given = (authorization or "").partition(" ")
    if kind.lower() == "basic":
        try:
            given = base64.b64decode(given, validate=True).decode().partition(":")[2]
        except (binascii.Error, UnicodeDecodeError):
            given = ""
    elif kind.lower() != "bearer":
        given = ""
    if not hmac.compare_digest(given.strip().encode(errors="replace"), token.encode()):
        raise Refused(
            401,
            "This server wants its token: send the header 'Authorization: Bearer TOKEN', or ask http://any:TOKEN@host/.",
            {"WWW-Authenticate": "Bearer"},
        )


async def body(request: Request, limits: Limits) -> bytes:
    """The body. Raises Refused where it is too large (413) or comes too slowly (408), Gone where the client hung up."""
    large = Refused(413, f"The body may have {limits.body} bytes, but this one is longer; send fewer rows at a time.")
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > limits.body:
        raise large
    held = bytearray()
    try:
        async with asyncio.timeout(limits.read_s):
            async for chunk in request.stream():
                held += chunk
                if len(held) > limits.body:
                    raise large
    except TimeoutError:
        # The rest of the body would be read as the next request.
        raise Refused(
            408, f"The body must arrive within {limits.read_s:g} s, but it did not.", {"Connection": "close"}
        ) from None
    except ClientDisconnect:
        raise Gone from None
    return bytes(held)


def decoded(text: bytes) -> dict[str, Any]:
    """The JSON object of a body. Raises Refused (422) where it is none."""
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise Refused(
            422, f"The body must be JSON, but it is not: {error.msg} at line {error.lineno} column {error.colno}."
        ) from None
    except (ValueError, RecursionError) as error:
        what = "too deeply nested" if isinstance(error, RecursionError) else str(error)
        raise Refused(422, f"The body must be JSON, but it cannot be read: {what}.") from None
    if not isinstance(value, dict):
        raise Refused(422, f"The body must be a JSON object, but a {type(value).__name__} came.")
    return value
