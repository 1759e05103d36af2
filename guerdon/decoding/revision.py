"""Self-revision: the policy answers, and then improves its own last answer as often as wanted."""

from collections.abc import Callable, Sequence
from typing import Any

from guerdon.batch import Message, Samples, Seed
from guerdon.errors import GuerdonError
from guerdon.worlds.interface import Sampling, World
from guerdon.worlds.snapshots import Actors
from guerdon.worlds.text import as_messages

REWRITE = "Write a better answer to the same request."
"""What asks for a better answer after the one before it."""


def asked_again(prompt: Any, answer: str, request: str = REWRITE) -> tuple[Message, ...]:
    """The prompt (a text or messages), the answer as the assistant's turn, and the request for a better one."""
    return (*as_messages(prompt), Message.of("assistant", answer), Message.of("user", request))


def revisions(
    world: World,
    snapshots: Actors,
    starts: Sequence[Any],
    times: int = 1,
    sampling: Sampling | None = None,
    seed: Seed | None = None,
    again: Callable[[Any, Any], Any] = asked_again,
) -> list[Samples]:
    """y⁰ ~ π(·|x), then y^{k+1} ~ π(·|y^k, x): ``times`` + 1 samples, one row a start, the last being the answer
    (SRPO, Choi et al. 2024, 2406.01660, with 1 to 5 revisions).

    again: (start, response) -> the start of the next draw; it sees the *first* start every time, so that a context
    holds one earlier answer. Raises GuerdonError where ``times`` is negative.
    """
    if times < 0:
        raise GuerdonError(f"revisions(times=…) must be at least 0, but {times} came.")
    how, key = sampling or Sampling(), seed or Seed(0)
    drawn = [world.sample(snapshots, list(starts), 1, how, key.child("revision", 0))]
    for k in range(1, times + 1):
        said = drawn[-1].responses
        if said is None:
            raise GuerdonError("Revisions read the responses, but this world gives none; use a world that does.")
        asked = [again(start, answer) for start, answer in zip(starts, said, strict=True)]
        drawn.append(world.sample(snapshots, asked, 1, how, key.child("revision", k)))
    return drawn
