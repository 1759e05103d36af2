"""Ranks of torch.distributed, or one rank where it is not initialised: everything here is the identity then."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

X = TypeVar("X")


def _on() -> bool:
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def rank() -> int:
    """This process's number, 0 alone."""
    return dist.get_rank() if _on() else 0


def size() -> int:
    """How many processes train together, 1 alone."""
    return dist.get_world_size() if _on() else 1


def share(items: Sequence[X]) -> Sequence[X]:
    """This rank's items: every ``size()``-th; all of them together are the whole."""
    return items[rank() :: size()]


def gather(x: X) -> list[X]:
    """``x`` of every rank, in rank order."""
    if not _on():
        return [x]
    out: list[Any] = [None] * size()
    dist.all_gather_object(out, x)
    return out


def once(call: Callable[[], X]) -> X:
    """What ``call`` returns on the first rank, on every rank; the others do not call it. What it raises is raised on
    all."""
    if not _on():
        return call()
    box: list[Any] = [None, None]
    if rank() == 0:
        try:
            box[0] = call()
        except Exception as error:
            box[1] = error
    dist.broadcast_object_list(box, src=0)
    if box[1] is not None:
        raise box[1]
    found: X = box[0]
    return found


def wait() -> None:
    """All ranks meet here."""
    if _on():
        dist.barrier()


def sum_gradients(parameters: Sequence[nn.Parameter]) -> None:
    """Replace every gradient by its sum over ranks; a parameter without a gradient on every rank keeps none."""
    if not _on() or not parameters:
        return
    device = parameters[0].device
    present = torch.tensor([p.grad is not None for p in parameters], dtype=torch.float32, device=device)
    dist.all_reduce(present)
    kept = [p for p, some in zip(parameters, present.tolist(), strict=True) if some]
    if not kept:
        return
    flat = torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).float().reshape(-1) for p in kept])
    dist.all_reduce(flat)
    for p, piece in zip(kept, flat.split([p.numel() for p in kept]), strict=True):
        p.grad = piece.reshape(p.shape).to(p.dtype)


def sum_tensors(x: Mapping[str, Mapping[str, Tensor]]) -> Mapping[str, Mapping[str, Tensor]]:
    """Sums by name (term -> key -> tensor), added over ranks."""
    if not _on():
        return x
    out: dict[str, dict[str, Tensor]] = {}
    for part in gather(x):
        for term, sums in part.items():
            here = out.setdefault(term, {})
            for key, value in sums.items():
                here[key] = here[key] + value if key in here else value
    return out


def sum_pairs(x: dict[str, tuple[float, float]]) -> dict[str, tuple[float, float]]:
    """(sum, count) by name, added over ranks; a name may be missing on some."""
    out: dict[str, tuple[float, float]] = {}
    for part in gather(x):
        for key, (total, count) in part.items():
            before = out.get(key, (0.0, 0.0))
            out[key] = (before[0] + total, before[1] + count)
    return out
