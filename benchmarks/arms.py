"""Arms in fresh processes: what one of them loads, caches or fragments never reaches another."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"


def fresh(call: str, settings: Mapping[str, Any], *, threads: int = 1, timeout: float = 1800) -> dict[str, Any]:
    """What ``call`` ('benchmarks.dpo:ours', a function of one mapping that returns JSON values) gives for ``settings``
    in a process of its own with ``threads`` threads, offline.

    Raises RuntimeError with the end of its output where it fails.
    """
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out.json"
        number = str(threads)
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": number,
            "MKL_NUM_THREADS": number,
            "TOKENIZERS_PARALLELISM": "false",
            "HF_HUB_OFFLINE": "1",
            # Rows of ever new lengths would fill oneDNN's cache of kernels, some hundred MB of them, in any arm.
            "ONEDNN_PRIMITIVE_CACHE_CAPACITY": "16",
            # Freed memory stays with the process; fetching it again in every pass slows any arm.
            "MALLOC_TRIM_THRESHOLD_": str(2**31 - 1),
            "MALLOC_MMAP_THRESHOLD_": str(2**25),
            "WANDB_DISABLED": "true",
        }
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.arms", call, json.dumps(dict(settings)), str(out), number],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        if done.returncode != 0 or not out.exists():
            raise RuntimeError(f"{call} failed for {dict(settings)}:\n{(done.stdout + done.stderr)[-3000:]}")
        return json.loads(out.read_text())


def save(name: str, result: Mapping[str, Any]) -> None:
    """Keep a benchmark's result beside the code."""
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(dict(result), indent=1) + "\n", encoding="utf-8")


def load(name: str) -> dict[str, Any] | None:
    """A kept result, None where there is none."""
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def _main(call: str, settings: str, out: str, threads: str) -> None:
    import importlib

    import torch

    torch.set_num_threads(int(threads))
    module, _, function = call.partition(":")
    result = getattr(importlib.import_module(module), function)(json.loads(settings))
    Path(out).write_text(json.dumps(result))


if __name__ == "__main__":
    _main(*sys.argv[1:5])
