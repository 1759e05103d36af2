"""What the terminal shows: progress bars on stderr, tables on stdout."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

Tick = Callable[[int, int, Mapping[str, float]], None]


def console(stderr: bool = False) -> Any:
    """A rich console."""
    from rich.console import Console

    return Console(stderr=stderr, highlight=False, soft_wrap=not stderr)


@contextmanager
def bar(title: str) -> Iterator[Tick]:
    """A progress bar on stderr; call what comes with (done, of, metrics)."""
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=console(stderr=True)) as progress:
        task = progress.add_task(title, total=None, note="")

        def tick(done: int, of: int, metrics: Mapping[str, float]) -> None:
            progress.update(task, completed=done, total=of, note=brief(metrics))

        yield tick
        progress.update(task, note="")


def brief(metrics: Mapping[str, float], most: int = 3) -> str:
    """The metrics worth a glance, in one line."""
    wanted = ("loss", "accuracy", "rewards/accuracies", "reward", "objective/kl", "kl", "gold")
    found = [(k, metrics[k]) for k in wanted if isinstance(metrics.get(k), int | float)]
    return "  ".join(f"{k.rpartition('/')[2]} {v:.3g}" for k, v in found[:most])


def table(title: str, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """A table on stdout."""
    from rich.table import Table
    from rich.text import Text

    out = Table(title=title, title_justify="left", header_style="bold", box=None, pad_edge=False)
    for name in header:
        out.add_column(name)
    for row in rows:
        out.add_row(*(Text(f"{c:.4g}" if isinstance(c, float) else str(c)) for c in row))
    console().print(out)


def interval(value: Mapping[str, Any] | None, percent: bool = False) -> str:
    """'0.612 [0.570, 0.653]' of a stored Interval, '–' for None."""
    if value is None:
        return "–"
    one = (lambda x: f"{100 * x:.1f} %") if percent else (lambda x: f"{x:.3f}")
    return f"{one(value['estimate'])} [{one(value['low'])}, {one(value['high'])}]"
