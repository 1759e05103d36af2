"""What a piece of work costs: wall and CPU seconds, peak memory, floating-point operations against the machine's own
peak."""

import os
import platform
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

STATUS = Path("/proc/self/status")
CLEAR = Path("/proc/self/clear_refs")


def resident() -> int:
    """Bytes this process holds now."""
    return _kilobytes("VmRSS") * 1024


def peak() -> int:
    """The most bytes this process has held since it began, or since ``forget_peak``."""
    return _kilobytes("VmHWM") * 1024


def forget_peak() -> None:
    """Let ``peak`` begin again from what is held now."""
    CLEAR.write_text("5")


def _kilobytes(field: str) -> int:
    return next(int(line.split()[1]) for line in STATUS.read_text().splitlines() if line.startswith(field + ":"))


@dataclass
class Cost:
    """seconds: wall clock. cpu: CPU seconds of this process, all threads. memory: peak bytes above what was held when
    the work began."""

    seconds: float = 0.0
    cpu: float = 0.0
    memory: int = 0


@contextmanager
def cost() -> Iterator[Cost]:
    """Measure the block; the Cost is filled in when it ends."""
    out = Cost()
    held = resident()
    forget_peak()
    wall, cpu = time.perf_counter(), time.process_time()
    try:
        yield out
    finally:
        out.seconds, out.cpu = time.perf_counter() - wall, time.process_time() - cpu
        out.memory = max(0, peak() - held)


def best_of(call: Callable[[], Any], repeats: int = 5) -> float:
    """Least wall seconds of ``repeats`` calls, after one that is not counted."""
    call()
    taken = []
    for _ in range(repeats):
        began = time.perf_counter()
        call()
        taken.append(time.perf_counter() - began)
    return min(taken)


def matmul_peak(dtype: Any = None, size: int = 2048) -> float:
    """Floating-point operations a second of one large matrix product, at the current thread count: what this machine
    can do at most."""
    import torch

    a = torch.randn(size, size).to(dtype or torch.float32)
    return 2 * size**3 / best_of(lambda: a @ a, 8)


def machine() -> dict[str, Any]:
    """Names of the processor and the versions the numbers depend on."""
    import torch

    cpu = next(
        (x.split(":")[1].strip() for x in Path("/proc/cpuinfo").read_text().splitlines() if x.startswith("model name")),
        platform.processor(),
    )
    return {
        "cpu": cpu,
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }
