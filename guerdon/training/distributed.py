"""Ranks of torch.distributed, or one rank where it is not initialised: everything here is the identity then.

Belongs here: joining the group that a launcher names, and the few collectives the loop uses. Every rank holds the whole
batch and the whole model; the rows of an update are what is split.
"""

import io
import os
import pickle
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from guerdon.errors import GuerdonError

X = TypeVar("X")

PATIENCE = timedelta(hours=12)
"""How long a rank waits for the others: the first one samples and scores alone meanwhile."""
NAMES = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
SHARDED = {
    "ACCELERATE_USE_FSDP": "FSDP",
    "ACCELERATE_USE_DEEPSPEED": "DeepSpeed",
    "ACCELERATE_USE_MEGATRON_LM": "Megatron",
}


def _on() -> bool:
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def rank() -> int:
    """This process's number, 0 alone."""
    return dist.get_rank() if _on() else 0


def size() -> int:
    """How many processes train together, 1 alone."""
    return dist.get_world_size() if _on() else 1


def launched() -> int:
    """How many processes a launcher (torchrun, accelerate launch) started together, by the environment; 1 without one.

    Raises GuerdonError where the environment is half set, or names a way of training that is not supported.
    """
    given = {k: os.environ[k] for k in NAMES if os.environ.get(k)}
    if "RANK" not in given and "WORLD_SIZE" not in given:
        if "MASTER_ADDR" in given and os.environ.get("ACCELERATE_USE_CPU", "").lower() == "true":
            raise GuerdonError(
                "accelerate launch --cpu starts one process whatever --num_processes says; on CPUs too, several are "
                "started by accelerate launch --multi_gpu --num_processes N, or by torchrun --nproc-per-node N."
            )
        return 1
    count = given.get("WORLD_SIZE", "")
    if count == "1":
        return 1
    missing = [k for k in NAMES if k not in given]
    if missing:
        raise GuerdonError(
            f"A launcher sets {', '.join(NAMES)} together, but only {', '.join(given)} came ({', '.join(missing)} "
            "missing); start with torchrun or accelerate launch, or unset them all."
        )
    if not (count.isdecimal() and given["RANK"].isdecimal() and int(given["RANK"]) < int(count)):
        raise GuerdonError(
            f"RANK must be a number from 0 to WORLD_SIZE - 1, but RANK={given['RANK']!r} and WORLD_SIZE={count!r} came."
        )
    for name, kind in SHARDED.items():
        if os.environ.get(name, "").lower() == "true":
            raise GuerdonError(
                f"{kind} was asked for, but every rank holds the whole model here; start without it "
                "(accelerate launch --multi_gpu), or use the rewards inside a trainer that shards."
            )
    return int(count)


@contextmanager
def joined(patience: timedelta = PATIENCE) -> Iterator[None]:
    """Be one of the processes that a launcher started, while the block runs; the identity without a launcher, or where
    a group stands already (that one is used and left as it is).

    With GPUs, 'cuda' is this process's own inside the block. patience: how long a rank waits for another before it
    gives up. Raises GuerdonError where the environment is half set (``launched``) or the others cannot be reached.
    """
    if not dist.is_available() or dist.is_initialized() or launched() == 1:
        yield
        return
    gpu = torch.cuda.is_available()
    if gpu:
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", os.environ["RANK"])) % torch.cuda.device_count())
    try:
        dist.init_process_group("cpu:gloo,cuda:nccl" if gpu else "gloo", timeout=patience)
    except (RuntimeError, ValueError) as error:
        where = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
        said = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
        raise GuerdonError(f"The other processes cannot be reached at {where} ({said}); is the port free?") from error
    try:
        yield
        dist.barrier()  # who leaves first would cut the others' connections
    finally:
        dist.destroy_process_group()


def check_joined() -> None:
    """Raise GuerdonError where a launcher started several processes and this one has not joined them: each would do
    all the work and write the same files."""
    if dist.is_available() and not dist.is_initialized() and launched() > 1:
        raise GuerdonError(
            f"This is one of {launched()} processes, but it has not joined them; put the script's body under "
            "`with guerdon.training.joined():`, or start one process."
        )


def check_alone(what: str) -> None:
    """Raise GuerdonError where several processes would each do what one does; within a group the first one may."""
    if rank() > 0 or (size() == 1 and launched() > 1):
        raise GuerdonError(
            f"{what} is the work of one process, but a launcher started {max(size(), launched())}; start it without one"
            + (", or call it on the first rank alone." if size() > 1 else ".")
        )


def check_same(named: Mapping[str, Tensor]) -> None:
    """Raise GuerdonError where the ranks hold different values (sums of values and of magnitudes, to 1e-6)."""
    if not _on():
        return
    sums = {k: (float(x.detach().double().sum()), float(x.detach().double().abs().sum())) for k, x in named.items()}
    for other, found in enumerate(together(lambda: sums)):
        for name, (plain, whole) in sums.items():
            a, b = found.get(name, (float("nan"), float("nan")))
            if not (abs(a - plain) <= 1e-6 * (whole + 1) and abs(b - whole) <= 1e-6 * (whole + 1)):
                raise GuerdonError(
                    f"Ranks {rank()} and {other} begin with different weights in {name!r}; load the same file or seed "
                    "the initialisation alike on every rank."
                )


def share(items: Sequence[X]) -> Sequence[X]:
    """This rank's items: every ``size()``-th; all of them together are the whole."""
    return items[rank() :: size()]


def together(call: Callable[[], X]) -> list[X]:
    """What ``call`` returns on every rank, in rank order; every rank calls it. What one raises is raised on all, so
    that none waits for a rank that has gone."""
    if not _on():
        return [call()]
    value, error, sent = _outcome(call)
    found: list[Any] = [(value, error)]
    packed: list[Any] = [None] * size()
    dist.all_gather_object(packed, sent)
    found = [found[0] if r == rank() else _unpack(x) for r, x in enumerate(packed)]
    for _, raised in found:
        if raised is not None:
            raise raised
    return [x for x, _ in found]


def agreed(call: Callable[[], X]) -> X:
    """What ``call`` returns on this rank; every rank calls it, and what one raises is raised on all."""
    mine: list[X] = []
    together(lambda: mine.append(call()))
    return mine[0]


def once(call: Callable[[], X]) -> X:
    """What ``call`` returns on the first rank, on every rank; the others do not call it. What it raises is raised on
    all."""
    if not _on():
        return call()
    box: list[Any] = [None]
    if rank() == 0:
        value, error, box[0] = _outcome(call)
    dist.broadcast_object_list(box, src=0)
    if rank() != 0:
        value, error = _unpack(box[0])
    if error is not None:
        raise error
    return value  # type: ignore[return-value]


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
    kind = torch.float64 if any(p.dtype == torch.float64 for p in kept) else torch.float32
    flat = torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).to(kind).reshape(-1) for p in kept])
    dist.all_reduce(flat)
    for p, piece in zip(kept, flat.split([p.numel() for p in kept]), strict=True):
        p.grad = piece.reshape(p.shape).to(p.dtype)


def added(parts: Sequence[Mapping[str, Mapping[str, Tensor]]]) -> Mapping[str, Mapping[str, Tensor]]:
    """Sums by name (term -> key -> tensor) of several ranks, added; a key may be missing on some."""
    out: dict[str, dict[str, Tensor]] = {}
    for part in parts:
        for term, sums in part.items():
            here = out.setdefault(term, {})
            for key, value in sums.items():
                here[key] = here[key] + value if key in here else value
    return out


def _outcome(call: Callable[[], X]) -> tuple[X | None, Exception | None, bytes]:
    """(what ``call`` returns, what it raises, both as bytes). A value that cannot be sent is an error too."""
    try:
        value = call()
        return value, None, _pack(value, None)
    except Exception as error:
        return None, error, _pack(None, _sendable(error))


def _sendable(error: Exception) -> Exception:
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return GuerdonError(f"{type(error).__name__}: {error}")
    return error


def _pack(value: Any, error: Exception | None) -> bytes:
    held = io.BytesIO()
    torch.save((value, error), held)
    return held.getvalue()


def _unpack(packed: bytes) -> tuple[Any, Exception | None]:
    """The outcome; tensors of the sender's GPU stand on this rank's."""

    def place(storage: Any, location: str) -> Any:
        return storage.cuda() if location.startswith("cuda") else storage

    found: tuple[Any, Exception | None] = torch.load(io.BytesIO(packed), map_location=place, weights_only=False)
    return found
