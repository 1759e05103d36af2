"""The child process of ``workers``: read a pickled call, say that it starts, run it, answer. Run as ``python -m`` by
the parent."""

import io
import os
import pickle
import struct
import sys
import traceback
from typing import IO, Any


def read_message(stream: IO[bytes]) -> Any:
    """One length-prefixed pickle. Raises EOFError where the other side is gone."""
    head = stream.read(8)
    if len(head) < 8:
        raise EOFError
    (size,) = struct.unpack("<Q", head)
    body = stream.read(size)
    if len(body) < size:
        raise EOFError
    return pickle.loads(body)


def write_message(stream: IO[bytes], message: Any) -> None:
    """One length-prefixed pickle, flushed."""
    body = pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL)
    stream.write(struct.pack("<Q", len(body)) + body)
    stream.flush()


def main() -> None:
    """Serve calls until the parent closes the pipe. The reward's own prints go to stderr, never into the protocol."""
    calls: IO[bytes] = os.fdopen(os.dup(0), "rb")
    answers: IO[bytes] = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    sys.stdin = io.StringIO()
    write_message(answers, ("ready", None))
    while True:
        try:
            payload = read_message(calls)
        except EOFError:
            return
        write_message(answers, ("started", None))
        try:
            function, arguments = pickle.loads(payload)  # imports the reward's module: slow imports count as its time
            answer = ("ok", function(*arguments))
        except BaseException as error:
            answer = ("raised", f"{type(error).__name__}: {error}".strip() or traceback.format_exc())
        try:
            write_message(answers, answer)
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            write_message(answers, ("raised", f"the result cannot be pickled: {error}"))


if __name__ == "__main__":
    main()
