"""Plain functions as rewards."""

import asyncio
import inspect
from collections.abc import Callable, Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, overload

import torch
from torch import Tensor

from guerdon.batch import Channel, Samples, Scores, Status
from guerdon.errors import GuerdonError, NeedsError, RewardError
from guerdon.rewards.interface import Context, Reward, State

# What a parameter name stands for; every other name is a column of the data set.
ROWS = {"prompts": "prompts", "responses": "responses", "completions": "responses"}
ROW = {"prompt": "prompts", "response": "responses", "completion": "responses"}


class FunctionReward(Reward):
    """A function as a stateless reward; ``reward`` makes it.

    A parameter named ``samples`` receives the Samples and ``context`` the Context; ``prompts``, ``responses`` (or
    ``completions``) those lists; every other name the column of that name; ``**kwargs`` the columns not named. With
    ``each`` the function is called once a row and receives one value each (``prompt`` and ``response`` in the singular
    also do). It may be ``async``; then rows run concurrently, ``at_once`` at a time. A parameter with a default whose
    column is absent keeps the default.

    Returns: a tensor [N] or [N,T], numbers with None for 'not applicable', a Channel or Scores; with ``each`` one
    number or None.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        name: str | None = None,
        needs: Sequence[str] = (),
        each: bool = False,
        differentiable: bool = False,
        at_once: int = 64,
    ) -> None:
        self.function = function
        self.name: str = name or str(getattr(function, "__name__", type(function).__name__))
        self.__name__ = self.name
        self.__doc__ = function.__doc__ or FunctionReward.__doc__
        self.each = each
        self.differentiable = differentiable
        self.at_once = at_once
        self.parameters = tuple(inspect.signature(function).parameters.values())
        named = [
            p.name for p in self.parameters if p.default is p.empty and p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)
        ]
        known = {"samples", "context", *ROWS, *(ROW if each else ())}
        self.needs = tuple(dict.fromkeys((*needs, *(n for n in named if n not in known))))
        self.channels = (self.name,)

    def options(self) -> dict[str, Any]:
        """What ``reward`` was given, apart from the function."""
        return {
            "name": self.name,
            "needs": list(self.needs),
            "each": self.each,
            "differentiable": self.differentiable,
            "at_once": self.at_once,
        }

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The function itself."""
        return self.function(*args, **kwargs)

    def __reduce__(self) -> tuple[Any, ...]:
        # The decorator replaced the function under its own name, so pickle must go through the name, not the function.
        from guerdon.rewards.serialise import locate, path_of, rebuild_function

        path = path_of(self.function)
        return (locate, (path,)) if locate(path) is self else (rebuild_function, (path, self.options()))

    def score(self, samples: Samples, state: State, context: Context) -> tuple[Scores, State]:
        """Ask the function and check what it gives. Raises RewardError naming reward and row, NeedsError naming a
        column."""
        given = self._arguments(samples, context)
        if self.each:
            rows = [{k: v[i] for k, v in given.items()} for i in range(len(samples))]
            result = self._each(rows)
        else:
            result = self.function(**given)
            if inspect.isawaitable(result):
                result = run_coroutine(_finish(result))
        return as_scores(result, self.name, len(samples), keep_gradient=self.differentiable), state

    def _arguments(self, samples: Samples, context: Context) -> dict[str, Any]:
        given: dict[str, Any] = {}
        aliases = {**ROWS, **(ROW if self.each else {})}
        for p in self.parameters:
            if p.kind is p.VAR_KEYWORD:
                named = {q.name for q in self.parameters}
                given.update({k: v for k, v in samples.columns.items() if k not in named})
            elif p.kind is p.VAR_POSITIONAL:
                continue
            elif p.name == "samples":
                given[p.name] = [samples.take(torch.tensor([i])) for i in range(len(samples))] if self.each else samples
            elif p.name == "context":
                given[p.name] = [context] * len(samples) if self.each else context
            elif p.name in aliases and p.name not in samples.columns:
                rows = getattr(samples, aliases[p.name])
                if rows is None:
                    raise NeedsError(f"Reward {self.name!r} reads {p.name!r}, but these samples carry none.")
                given[p.name] = rows
            elif p.name in samples.columns:
                given[p.name] = samples.columns[p.name]
            elif p.default is p.empty:
                raise NeedsError(
                    f"Reward {self.name!r} needs the column {p.name!r}, but there are {sorted(samples.columns)}."
                )
        return given

    def _each(self, rows: Sequence[Mapping[str, Any]]) -> list[Any]:
        if not inspect.iscoroutinefunction(self.function):
            return [self._one(i, row) for i, row in enumerate(rows)]

        async def gathered() -> list[Any]:
            gate = asyncio.Semaphore(self.at_once)

            async def one(row: Mapping[str, Any]) -> Any:
                async with gate:
                    return await self.function(**row)

            return await asyncio.gather(*(one(row) for row in rows))

        return run_coroutine(gathered())

    def _one(self, i: int, row: Mapping[str, Any]) -> Any:
        try:
            return self.function(**row)
        except GuerdonError:
            raise
        except Exception as error:
            raise RewardError(f"Reward {self.name!r} raised {type(error).__name__} on row {i}: {error}") from error


@overload
def reward(function: Callable[..., Any], /) -> FunctionReward: ...


@overload
def reward(
    *,
    name: str | None = None,
    needs: Sequence[str] = (),
    each: bool = False,
    differentiable: bool = False,
    at_once: int = 64,
) -> Callable[[Callable[..., Any]], FunctionReward]: ...


def reward(function: Callable[..., Any] | None = None, /, **options: Any) -> Any:
    """A plain function as a reward: ``@reward`` or ``@reward(name="brevity", each=True)``; see FunctionReward for the
    arguments."""
    if function is not None:
        return FunctionReward(function)
    return lambda f: FunctionReward(f, **options)


def as_scores(result: Any, name: str, rows: int, *, keep_gradient: bool = False) -> Scores:
    """What a reward function returned as checked Scores: float32 whatever came, one value a row.

    Raises RewardError naming the reward and the row where a value is missing, no number, NaN or infinite.
    """
    if isinstance(result, Scores):
        scores = result
    elif isinstance(result, Channel):
        scores = Scores({name: result})
    else:
        scores = Scores({name: _channel(result, name)})
    for channel in scores.channels.values():
        if len(channel.value) != rows:
            raise RewardError(f"Reward {name!r} must give {rows} values, one a row, but gave {len(channel.value)}.")
    if keep_gradient:
        return scores
    return Scores(
        {
            k: Channel(c.value.detach(), c.status, c.spread, c.note) if c.value.requires_grad else c
            for k, c in scores.channels.items()
        }
    )


def _channel(result: Any, name: str) -> Channel:
    if not isinstance(result, Tensor) and hasattr(result, "__array__"):
        result = torch.as_tensor(result)
    if isinstance(result, Tensor):
        if result.ndim not in (1, 2) or result.is_complex():
            raise RewardError(
                f"Reward {name!r} must give a tensor [N] or [N,T] of real numbers, but gave {list(result.shape)}."
            )
        value = result if result.is_floating_point() and result.dtype == torch.float64 else result.float()
        bad = ~torch.isfinite(value)
        if bool(bad.any()):
            row = int(bad.nonzero()[0, 0])
            raise RewardError(
                f"Reward {name!r} gave {float(value[bad][0]):g} for row {row}; give None where it does not apply."
            )
        return Channel(value)
    if isinstance(result, str | bytes | Mapping) or not isinstance(result, Sequence):
        raise RewardError(f"Reward {name!r} must give one number a row, but gave a {type(result).__name__}.")
    values: list[float | None] = []
    for row, x in enumerate(result):
        values.append(None if x is None else _number(x, name, row))
    return Channel.of(values)


def _number(x: Any, name: str, row: int) -> float:
    if isinstance(x, str | bytes):
        raise RewardError(f"Reward {name!r} gave the text {x!r} for row {row}, but a number or None was expected.")
    try:
        value = float(x)
    except (TypeError, ValueError):
        raise RewardError(
            f"Reward {name!r} gave a {type(x).__name__} for row {row}, but a number or None was expected."
        ) from None
    if value != value or value in (float("inf"), float("-inf")):
        raise RewardError(f"Reward {name!r} gave {value:g} for row {row}; give None where it does not apply.")
    return value


def channel_of(
    values: Sequence[float | None], notes: Sequence[str] | None = None, failed: Sequence[bool] | None = None
) -> Channel:
    """Values with None for 'not applicable'; rows marked in ``failed`` are FAILED whatever their value."""
    channel = Channel.of(values, notes)
    if failed is None or not any(failed):
        return channel
    lost = torch.tensor(list(failed), dtype=torch.bool)
    status = torch.where(lost, int(Status.FAILED), channel.statuses()).to(torch.int8)
    return Channel(torch.where(lost, float("nan"), channel.value), status, note=notes)


def run_coroutine(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run to the end, in this thread or, where an event loop already runs here (notebooks), in a fresh one."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(coroutine)
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, coroutine).result()


async def _finish(awaitable: Any) -> Any:
    return await awaitable
