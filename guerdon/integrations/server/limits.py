"""How much of everything a server takes."""

from dataclasses import dataclass, fields

from guerdon.errors import GuerdonError


@dataclass(frozen=True)
class Limits:
    """body: bytes of a request. rows: responses in one request. queued_rows: responses that may wait to be scored.
    together: responses of several requests in one call of the reward, the first of which waits ``wait_s`` seconds for
    the others. read_s: seconds a client may take to send a request. score_s: seconds a request may wait for its
    scores. connections: clients at once.

    Raises GuerdonError where one is not above 0 (wait_s may be 0), or where a request that is not too large could never
    be queued.
    """

    body: int = 16 * 2**20
    rows: int = 1024
    queued_rows: int = 8192
    together: int = 256
    wait_s: float = 0.002
    read_s: float = 10.0
    score_s: float = 120.0
    connections: int = 1024

    def __post_init__(self) -> None:
        for f in fields(self):
            value = getattr(self, f.name)
            if value < 0 or (value == 0 and f.name != "wait_s"):
                raise GuerdonError(f"The limit {f.name} must be above 0, but {value!r} came.")
        if self.queued_rows < self.rows:
            raise GuerdonError(
                f"queued_rows must be at least rows ({self.rows}), or such a request could never be taken, but "
                f"{self.queued_rows} came."
            )
