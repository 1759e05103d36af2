"""One process of several that share a cache of log-probs: `RANK=r WORLD_SIZE=n … python -m tests.worlds.remembering
FOLDER OUT` re-scores recorded pairs as a rank of a group, twice, and saves what it found; with OUT 'forever' it writes
alone until it is killed."""

import sys
from itertools import count
from typing import Any

import numpy as np
import torch

from guerdon.batch import Pairs, Samples
from guerdon.training import Recorded, evidence, joined
from guerdon.training.presets import offline
from guerdon.worlds import Frozen, Snapshots
from guerdon.worlds.text import TextWorld, token_rows
from guerdon.worlds.text.remembered import Remembered
from tests.worlds.tiny import tiny

PATHS = ("steps.logp.reference",)


def samples(side: str = "right") -> Samples:
    """Six pairs."""
    prompts = [[1, 5 + i] for i in range(6) for _ in range(2)]
    responses = [[20 + i + 7 * j, *range(4, 4 + i), 3] for i in range(6) for j in range(2)]
    rows = token_rows(prompts, responses, side=side)  # type: ignore[arg-type]
    return Samples(rows, prompts, terminated=torch.ones(12, dtype=torch.bool))


def reference(folder: str | None) -> tuple[torch.Tensor, int]:
    """What ``evidence.fixed`` finds of the pairs' reference, and how many forward passes this process made."""
    model = tiny("llama")
    passes = 0

    def counted(*_: Any) -> None:
        nonlocal passes
        passes += 1

    world, snapshots = TextWorld(model, cache=folder), Snapshots(model, reference=Frozen())
    pairs = Pairs(torch.arange(0, 12, 2), torch.arange(1, 12, 2))
    recipe = offline("dpo", world, snapshots, Recorded(samples(), 6, pairs))
    world.rescore(snapshots, samples())  # the probe of the model's shape is no pass over rows
    model.model.norm.register_forward_hook(counted)
    memory = evidence.Cache()
    found = [evidence.fixed(recipe, samples(), PATHS, memory, torch.arange(12), recipe.seed) for _ in range(2)]
    assert torch.equal(found[0].logp["reference"], found[1].logp["reference"])  # type: ignore[union-attr]
    return found[0].logp["reference"], passes  # type: ignore[union-attr]


def main(folder: str, out: str) -> None:
    """See above."""
    if out == "forever":
        store = Remembered(folder)._store
        for i in count():
            keys = [f"{i}/{j}".encode() for j in range(50)]
            store.write({k: np.full(2000, i, np.float32) for k in keys})
            print(i, flush=True)
    with joined():
        torch.save([reference(folder), reference(folder)], out)


if __name__ == "__main__":
    main(*sys.argv[1:3])
