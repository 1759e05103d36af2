"""One rank of two: `python -m tests.training.two_ranks RANK STORE OUT` trains the toy recipe over gloo and saves its
weights."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from dataclasses import replace

import torch
import torch.distributed as dist

from guerdon.errors import RewardError
from guerdon.objectives import clipped, entropy_bonus, kl_penalty
from guerdon.training import Micro, Optim, minibatches, run
from tests.training.test_run import online
from tests.training.toy import Count


def recipe():  # type: ignore[no-untyped-def]
    """Several epochs, minibatches, a KL to the reference, entropy: everything that is summed over rows."""
    return online(
        rounds=3,
        objective=clipped() + 0.1 * kl_penalty() + 0.01 * entropy_bonus(),
        build=minibatches(2, 2),
        optim=Optim(lr=0.5, kind="sgd"),
        micro=Micro(rows=3),
        track=("steps.logp.reference",),
    )


def main() -> None:
    rank, store, out = int(sys.argv[1]), sys.argv[2], sys.argv[3]
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    made = recipe()
    done = run(made, f"{out}/run", save_every=2)
    last = {k: float(v) for k, v in done.history[-1].items()}
    try:
        run(replace(recipe(), reward=Count(fails_at=0)))
        told = ""
    except RewardError as error:  # both ranks hear of it
        told = str(error)
    torch.save({"weights": made.snapshots.module.logits.detach(), "last": last, "error": told}, f"{out}/{rank}.pt")
    # The results are written. Tearing gloo down races with the other rank's exit and may abort the interpreter.
    with suppress(RuntimeError):
        dist.barrier()
    os._exit(0)


if __name__ == "__main__":
    main()
