"""`python tests/training/kill_resume.py [TIMES]`: kill a run with SIGKILL at random points, three of them inside a
save, resume it, and compare every tensor of its last checkpoint with the uninterrupted run's. Prints "20/20 identical".

The recipe holds everything that has state: momentum, warm-up, EMA and copied snapshots, a drifting reward, a value net,
a controller, a best keeper, epochs of minibatches.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch
from torch import Tensor, nn

from guerdon.batch import Samples, Seed
from guerdon.objectives import Objective, clipped, kl_penalty
from guerdon.training import (
    BestKeeper,
    KLController,
    Optim,
    Prompts,
    Recipe,
    ValueHead,
    checkpoints,
    generalised,
    minibatches,
    run,
)
from guerdon.worlds.snapshots import EMA, CopyEvery, Frozen, History, Snapshots
from tests.training.toy import Count, Table, ToyWorld

ROUNDS = 20


class Values(nn.Module):
    """A value for every prompt and step."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.zeros(4, 3))

    def forward(self, prompt: Tensor) -> Tensor:
        return self.table[prompt]


def prompts_of(samples: Samples) -> Tensor:
    return torch.tensor([int(p) for p in samples.prompts])


def recipe(rounds: int = ROUNDS) -> Recipe:
    controller = KLController(0.05, target=0.5, horizon=100)

    def objective(step: int) -> Objective:
        return clipped() + (0.01 + 0.001 * step) * kl_penalty()

    return Recipe(
        world=ToyWorld(),
        snapshots=Snapshots(Table(), reference=Frozen(), ema=EMA(0.9), hard=CopyEvery(7), past=History(5, 2)),
        source=Prompts([0, 1, 2, 3, 1], per_round=3, seed=Seed(5)),
        objective=objective,
        optim=Optim(lr=0.05, warmup=5, schedule="cosine", weight_decay=0.01),
        rounds=rounds,
        reward=Count(drift=0.01),
        per_start=4,
        estimator=generalised(kl=lambda: controller.coefficient),
        build=minibatches(2, 2),
        companions=(ValueHead(Values(), prompts_of), controller, BestKeeper("reward")),
    )


def forked(work: Callable[[], None]) -> int:
    """Run ``work`` in a fork (torch is imported once); its process id. The parent never computes, so that the fork is
    clean."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        work()
        code = 0
    finally:
        sys.stderr.flush()
        os._exit(code)


def train(out: Path) -> None:
    run(recipe(), out, save_every=3)


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def inside_a_save(which: int, save: int) -> None:
    """Wrap what ``checkpoints.save`` calls so that save number ``save`` never ends: 0 half a file written, 1 before the
    rename, 2 between the rename and the folder's sync."""
    count = 0
    write, rename = checkpoints._write, os.rename

    def half_written(path: Path, data: bytes) -> None:
        nonlocal count
        count += 1
        if count == 2 * save:  # two files a save
            write(path, data[: len(data) // 2])
            die()
        write(path, data)

    def renamed(old: Path, new: Path) -> None:
        nonlocal count
        count += 1
        if count == save and which == 1:
            die()
        rename(old, new)
        if count == save:
            die()

    if which == 0:
        checkpoints._write = half_written
    else:
        os.rename = renamed  # type: ignore[assignment]


def killed_inside(out: Path, which: int, save: int) -> bool:
    def work() -> None:
        inside_a_save(which, save)
        train(out)

    return os.WIFSIGNALED(os.waitpid(forked(work), 0)[1])


def killed_after(out: Path, seconds: float) -> bool:
    pid = forked(lambda: train(out))
    time.sleep(seconds)
    os.kill(pid, signal.SIGKILL)
    return os.WIFSIGNALED(os.waitpid(pid, 0)[1])


def finish(out: Path) -> None:
    if os.waitpid(forked(lambda: train(out)), 0)[1] != 0:
        raise SystemExit(f"the resumed run in {out} failed")


def outcome(out: Path) -> tuple[dict[str, Tensor], list[dict[str, float]]]:
    """All tensors and numbers of the last checkpoint, and the metrics."""
    from safetensors.torch import load_file

    newest = checkpoints.latest(out / "checkpoints")
    assert newest is not None and newest.name.endswith(f"{ROUNDS:08d}"), newest
    lines = (out / "metrics.jsonl").read_text().splitlines()
    return load_file(newest / "tensors.safetensors"), [json.loads(x) for x in lines]


def same(a: Path, b: Path) -> bool:
    (x, one), (y, two) = outcome(a), outcome(b)
    return x.keys() == y.keys() and all(torch.equal(x[k], y[k]) for k in x) and one == two


def main(times: int = 20) -> int:
    import safetensors.torch  # noqa: F401 - here, so that the forks need not

    torch.set_num_threads(1)
    torch.optim.AdamW([torch.zeros(1, requires_grad=True)])  # loads what torch loads with its first optimiser
    draw = random.Random(0)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        began = time.monotonic()
        finish(root / "whole")
        whole = time.monotonic() - began
        identical = kills = attempt = 0
        while kills < times:
            attempt += 1
            out = root / str(attempt)
            if kills < 3:
                dead = killed_inside(out, kills, draw.randint(1, ROUNDS // 3))
            else:
                dead = killed_after(out, whole * draw.uniform(0.0, 0.9))
            if not dead:  # it was done before the signal came
                continue
            kills += 1
            finish(out)
            identical += same(root / "whole", out)
    print(f"{identical}/{kills} identical")
    return 0 if identical == kills else 1


if __name__ == "__main__":
    raise SystemExit(main(*map(int, sys.argv[1:])))
