"""Pairs of text/gold near the training pairs and away from them: other prompts, another writer, both."""

from collections.abc import Sequence

from guerdon.batch import Samples
from guerdon.lab.text_gold import TRAINING
from guerdon.lab.text_gold.policy import SAMPLING
from guerdon.lab.text_gold.testbed import Bed
from guerdon.worlds import Sampling

ELSEWHERE = Sampling(limit=SAMPLING.limit, temperature=1.5)
"""How another writer draws: the start policy at a higher temperature."""


def shifted_pairs(bed: Bed, seen: Sequence[str], each: int) -> dict[str, Samples]:
    """``each`` pairs a set, rows 2i and 2i + 1: 'id' (prompts ``seen`` in training, the start policy), 'prompt'
    (training prompts outside ``seen``), 'response' (the other writer), 'both'."""
    world, snapshots = bed.fresh()
    unseen = [p for p in TRAINING if p not in seen]
    asked = {
        "id": (seen, SAMPLING),
        "prompt": (unseen, SAMPLING),
        "response": (seen, ELSEWHERE),
        "both": (unseen, ELSEWHERE),
    }
    found = {}
    for name, (prompts, sampling) in asked.items():
        starts = [prompts[i % len(prompts)] for i in range(each)]
        found[name] = world.sample(snapshots, starts, 2, sampling, bed.seed.child("shifted", name))
    return found
