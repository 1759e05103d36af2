"""Each row by its own reward."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from guerdon.batch import Channel, Samples, Scores, Status
from guerdon.errors import GuerdonError, NeedsError
from guerdon.rewards.graph import Call, Evaluation, Node, as_node
from guerdon.rewards.interface import Reward, State
from guerdon.rewards.validity import one, single, spread


@dataclass(frozen=True, eq=False)
class Dispatch(Node):
    """Each row by the reward that its column ``by`` names; a reward sees only its own rows."""

    by: str
    cases: Mapping[Any, Node]
    default: Node | None = None
    name: str = "dispatch"

    @property
    def parts(self) -> tuple[Node, ...]:  # type: ignore[override]
        """The cases in order, then the default."""
        return (*self.cases.values(), *([self.default] if self.default is not None else []))

    @property
    def needs(self) -> tuple[str, ...]:  # type: ignore[override]
        """The column and what the cases need."""
        return tuple(dict.fromkeys((self.by, *(n for p in self.parts for n in p.needs))))

    @property
    def label(self) -> str:
        """Column and cases."""
        return f"{self.name} by {self.by}: {', '.join(str(k) for k in self.cases)}"

    def children(self) -> dict[str, Node]:
        """Keyed by case."""
        keyed = {str(k): v for k, v in self.cases.items()}
        return keyed if self.default is None else {**keyed, "default": self.default}

    def rows(self, samples: Samples) -> dict[str, list[int]]:
        """Row numbers by case. Raises NeedsError naming the row whose value has no case."""
        out: dict[str, list[int]] = {key: [] for key in self.children()}
        known = set(self.cases)
        for i, value in enumerate(samples.column(self.by)):
            if value not in known and self.default is None:
                raise NeedsError(
                    f"Dispatch by {self.by!r} has no case for {value!r} (row {i}); its cases are {list(self.cases)}."
                )
            out[str(value) if value in known else "default"].append(i)
        return out

    def evaluate(self, call: Call, state: State, path: str) -> Evaluation:
        """Each case on its rows; a case without rows is not asked and keeps its state."""
        n, inner, after, context = len(call.samples), [], {}, call.context
        value = torch.full((n,), float("nan"))
        status = torch.full((n,), int(Status.NOT_APPLICABLE), dtype=torch.int8)
        note = [""] * n
        for key, at in self.rows(call.samples).items():
            child, before = self.children()[key], state.get(key, {})
            if not at:
                after[key] = before
                continue
            rows = torch.tensor(at, dtype=torch.int64)
            sub = Call(call.samples.take(rows), replace(context, log=_scattered(context.log, rows, n)))
            done = sub.evaluate(child, before, f"{path}/{key}")
            channel = single(self.name, done.scores)
            if channel.value.ndim != 1:
                raise GuerdonError(f"Dispatch by {self.by!r} takes one value a row, but {key!r} gives one a step.")
            value = value.index_copy(0, rows, channel.value.to(value.dtype))
            status = status.index_copy(0, rows, channel.statuses())
            for i, text in zip(at, channel.note or [""] * len(at), strict=True):
                note[i] = text
            after[key] = done.state
            inner.append(_spread_evaluation(done, rows, n))
        scores = one(self.name, value, status, note if any(note) else None)
        return Evaluation(path, self, scores, {k: v for k, v in after.items() if v}, tuple(inner))


def dispatch(by: str, cases: Mapping[Any, Reward], default: Reward | None = None) -> Dispatch:
    """``dispatch('task', {'math': a, 'chat': b})``: each row by the reward its column names; other values go to
    ``default``, or raise NeedsError where there is none."""
    if not cases:
        raise GuerdonError("dispatch needs at least one case.")
    return Dispatch(by, {k: as_node(r) for k, r in cases.items()}, None if default is None else as_node(default))


def _spread_evaluation(done: Evaluation, rows: Tensor, n: int) -> Evaluation:
    scores = Scores({name: spread(c, rows, n) for name, c in done.scores.channels.items()})
    return replace(done, scores=scores, children=tuple(_spread_evaluation(c, rows, n) for c in done.children))


def _scattered(
    log: Callable[[str, Channel], None] | None, rows: Tensor, n: int
) -> Callable[[str, Channel], None] | None:
    return None if log is None else lambda path, channel: log(path, spread(channel, rows, n))
