"""Pieces of a pass side by side on a CPU, each on its share of the threads.

Many of a pass's calls are small: beside each of them cores wait for one another and for Python. Two pieces fill each
other's gaps, since Python's lock is free while torch computes. The results hang on the pieces and on the threads of
each, not on which runs when.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from functools import lru_cache
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

LANES = 2
"""Pieces that run at once unless fewer are asked for. More than two were not measured."""

_WORK = 1 << 30
"""Products of a token with a weight that a lane must have before it is worth a thread."""

P = TypeVar("P")
T = TypeVar("T")


def fitting(modules: Sequence[nn.Module], tokens: int, most: int = LANES) -> int:
    """How many pieces of ``tokens`` tokens in all should run at once, at most ``most``: one where there are too few
    threads or little to do, and where it would show how they run (dropout draws numbers, hooks may do anything)."""
    parameters = [p for module in modules for p in module.parameters()]
    if not 1 < most <= torch.get_num_threads() or any(p.device.type != "cpu" for p in parameters):
        return 1
    if any(_shows(m) for module in modules for m in module.modules()) or any(p._backward_hooks for p in parameters):
        return 1
    return most if tokens * sum(p.numel() for p in parameters) >= most * _WORK else 1


def _shows(module: nn.Module) -> bool:
    """Whether it shows when a module is called, and from where."""
    hooks = (module._forward_hooks, module._forward_pre_hooks, module._backward_hooks, module._backward_pre_hooks)
    return any(hooks) or (isinstance(module, nn.Dropout) and module.p > 0 and module.training)


def at_once(call: Callable[[P], T], pieces: Sequence[P]) -> list[T]:
    """``call(piece)`` for all pieces, the first by this thread, all in its modes. Raises what a call raises, after all
    have ended."""
    if len(pieces) == 1:
        return [call(pieces[0])]
    threads, inference, grad = torch.get_num_threads(), torch.is_inference_mode_enabled(), torch.is_grad_enabled()
    cast, kind = torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu")
    share = max(1, threads // len(pieces))

    def elsewhere(piece: P) -> T:
        torch.set_num_threads(share)
        with torch.inference_mode(inference), torch.set_grad_enabled(grad), torch.autocast("cpu", kind, enabled=cast):
            return call(piece)

    pool = _pool(os.getpid())
    rest = [pool.submit(elsewhere, piece) for piece in pieces[1:]]
    try:
        torch.set_num_threads(share)
        first = call(pieces[0])
    finally:
        wait(rest)
        torch.set_num_threads(threads)
    return [first, *(future.result() for future in rest)]


def each(
    work: Callable[[P], Mapping[str, Tensor]], pieces: Sequence[P], names: Sequence[str], modules: Sequence[nn.Module]
) -> list[Mapping[str, Tensor]]:
    """``work(piece)``, which has these names, for all pieces at once. Carries gradient to the modules' parameters, and
    to nothing else that ``work`` reads. First derivatives only."""
    if len(pieces) == 1 or not torch.is_grad_enabled():
        return at_once(work, pieces)

    def call(piece: P) -> list[Tensor]:
        found = work(piece)
        return [found[name] for name in names]

    parameters = dict.fromkeys(p for module in modules for p in module.parameters() if p.requires_grad)
    flat, size = _Lanes.apply(call, pieces, *parameters), len(names)
    return [dict(zip(names, flat[i : i + size], strict=True)) for i in range(0, len(flat), size)]


class _Lanes(torch.autograd.Function):
    """A graph a piece, and one node that holds them all; they live as long as what a node saves does."""

    @staticmethod
    def forward(
        ctx: Any, call: Callable[[P], list[Tensor]], pieces: Sequence[P], *parameters: Tensor
    ) -> tuple[Tensor, ...]:
        with torch.enable_grad():
            found = at_once(call, pieces)
        flat = [x for some in found for x in some]
        ctx.pieces, ctx.parameters = len(found), len(parameters)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*parameters, *flat)
        outputs = tuple(x.detach() for x in flat)
        ctx.mark_non_differentiable(*(out for out, x in zip(outputs, flat, strict=True) if not x.requires_grad))
        return outputs

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        parameters, flat = ctx.saved_tensors[: ctx.parameters], ctx.saved_tensors[ctx.parameters :]
        size = len(flat) // ctx.pieces

        def back(start: int) -> Sequence[Tensor | None]:
            both = list(zip(flat, grads, strict=True))[start : start + size]
            moving = [(x, g) for x, g in both if x.requires_grad and g is not None]
            if not moving:
                return [None] * len(parameters)
            # Whoever keeps the node's own graph may come back; who does not frees these with it.
            outputs, arriving = zip(*moving, strict=True)
            return torch.autograd.grad(outputs, parameters, arriving, retain_graph=True, allow_unused=True)

        total: list[Tensor | None] = [None] * len(parameters)
        for found in at_once(back, range(0, len(flat), size)):
            total = [b if a is None else a if b is None else a + b for a, b in zip(total, found, strict=True)]
        return None, None, *total


@lru_cache(maxsize=1)
def _pool(process: int) -> ThreadPoolExecutor:
    """Threads of this process (a forked one has none of its parent's)."""
    return ThreadPoolExecutor(LANES - 1, thread_name_prefix=f"guerdon-lane-{process}")
