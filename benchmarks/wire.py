"""The least of an HTTP client, on plain connections to 127.0.0.1: quick enough to load a server on its own machine, and
free to misbehave."""

import asyncio
import json
from typing import Any


class Wire:
    """One kept connection, opened again where the server closed it."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.reader: asyncio.StreamReader | None = None
        self.writer: asyncio.StreamWriter | None = None

    async def ask(self, path: str, body: bytes) -> tuple[int, bytes]:
        """(status, body) of the answer. A connection that failed is not used again."""
        try:
            if self.writer is None or self.reader is None:
                self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)
            head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(body)}\r\n\r\n"
            self.writer.write(head.encode() + body)
            await self.writer.drain()
            return await answer(self.reader)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Let go of the connection."""
        if self.writer is not None:
            self.writer.close()
        self.reader = self.writer = None


async def answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """Read one HTTP answer."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    fields = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in head[1:])}
    return int(head[0].split()[1]), await reader.readexactly(int(fields.get("content-length", "0")))


async def slowly(port: int, text: bytes) -> int:
    """The status told to a client that sends this and then nothing."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(text)
        return (await answer(reader))[0]
    finally:
        writer.close()


async def fetch(port: int) -> dict[str, Any]:
    """What /health says."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
    status, body = await answer(reader)
    writer.close()
    return json.loads(body) if status == 200 else {"counts": {}}
