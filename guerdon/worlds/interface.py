"""What a world is: it samples policies and re-scores what was sampled, at the temperature the samples were drawn
with."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from torch import Tensor

from guerdon.batch import Predictions, Samples, Seed, Steps
from guerdon.errors import GuerdonError
from guerdon.worlds.snapshots import Actors


@dataclass(frozen=True)
class Sampling:
    """How steps are drawn.

    temperature: divides the logits, > 0 (for the most likely step set ``greedy``, which keeps the temperature for
    re-scoring). top_p: smallest set of steps whose probability reaches it, in (0, 1]. limit: at most so many steps a
    row (None: as many as the model's context allows). minimum: a row may not end before so many steps. snapshot:
    which snapshot draws. Raises GuerdonError where a value is out of range.
    """

    temperature: float = 1.0
    top_p: float = 1.0
    greedy: bool = False
    limit: int | None = 128
    minimum: int = 0
    snapshot: str = "policy"

    def __post_init__(self) -> None:
        if not self.temperature > 0:
            raise GuerdonError(
                f"Sampling.temperature must be above 0, but {self.temperature} came; "
                "for the most likely step use greedy=True."
            )
        if not 0 < self.top_p <= 1:
            raise GuerdonError(f"Sampling.top_p must lie in (0, 1], but {self.top_p} came.")
        if self.limit is not None and self.limit < 1:
            raise GuerdonError(f"Sampling.limit must be at least 1 step, but {self.limit} came.")
        if self.minimum < 0 or (self.limit is not None and self.minimum > self.limit):
            raise GuerdonError(f"Sampling.minimum must lie in [0, {self.limit}], but {self.minimum} came.")


@dataclass(frozen=True)
class Start:
    """A start with its own key: rows drawn for equal (seed, key, sample index, step) are equal wherever the start
    stands.

    Without a key the content of the start is its key, and equal starts of one call are numbered in order; give a key
    where equal starts are spread over several calls that share a seed.
    """

    prompt: Any
    key: int | str | None = None


@dataclass(frozen=True)
class View:
    """What a hook may read at one step: rows int64 [n] (row numbers in the samples to come), step (0 is the first),
    and the state so far (text: ids and attention [n,L], left-padded)."""

    rows: Tensor
    step: int
    state: Mapping[str, Tensor] = field(default_factory=dict)


# (logits [n,V] before temperature, view) -> logits [n,V]; other worlds change a drift or the candidates in the same
# way.
Hook = Callable[[Tensor, View], Tensor]


class World(Protocol):
    """Samples policies and re-scores steps. ``snapshots`` is one actor's Snapshots, or several by name."""

    def sample(
        self,
        snapshots: Actors,
        starts: Sequence[Any],
        per_start: int,
        sampling: Sampling,
        seed: Seed,
        hooks: Sequence[Hook] = (),
    ) -> Samples:
        """``per_start`` rows for every start, rows of one start adjacent and in order.

        Draws depend on (seed, start, sample index, step) alone: neither batch size nor order nor device changes them,
        up to rounding of the logits.
        """
        ...

    def rescore(
        self,
        snapshots: Actors,
        samples: Samples,
        names: Sequence[str],
        stats: Sequence[str] = (),
        probe: Any = None,
    ) -> Steps | Predictions:
        """What each named snapshot says of the steps taken, in one call, at the temperature of the samples and at one
        probe.

        'policy' carries gradient unless gradients are off; every other name never does. Dropout is off for all names,
        so that the first-step ratio of policy to old is exactly 1. A world whose ``spares`` is True also takes
        ``still``, bool [N]: rows of which 'policy' need not carry gradient, because nothing will ask for it.
        """
        ...
