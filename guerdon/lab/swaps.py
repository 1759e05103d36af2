"""Responses of text/gold with one wrong word in each, to see who finds it."""

from collections.abc import Sequence

import torch
from torch import Tensor

from guerdon.batch import Samples, Seed
from guerdon.lab.text_gold import language as words
from guerdon.lab.text_gold.policy import SAMPLING, recorded
from guerdon.lab.text_gold.testbed import Bed


def corrupted(bed: Bed, prompts: Sequence[str], per: int, seed: Seed) -> tuple[Samples, Tensor]:
    """(2N rows, N responses of the start policy and then each with one relevant word swapped for a content word that
    its prompt did not ask for; the column of the swap [N])."""
    world, snapshots = bed.fresh()
    drawn = world.sample(snapshots, prompts, per, SAMPLING, seed)
    rows, g = words.rows_of(drawn), seed.child("swap").torch()
    clean, wrong, column = [], [], []
    for prompt, ids, live in zip(drawn.prompts, rows.ids, rows.response, strict=True):
        asked = [words.TOPICS.index(w) for w in prompt.split()[:2]]
        topic = (ids - words.FIRST_CONTENT) // words.PER_TOPIC
        places = (live & (ids >= words.FIRST_CONTENT) & torch.isin(topic, torch.tensor(asked))).nonzero()[:, 0]
        if not len(places):
            continue
        at = int(places[torch.randint(len(places), (1,), generator=g)])
        others = [t for t in range(len(words.TOPICS)) if t not in asked]
        k, word = torch.randint(len(others), (1,), generator=g), torch.randint(words.PER_TOPIC, (1,), generator=g)
        said = ids[live].tolist()
        place = at - words.PROMPT_LENGTH
        changed = [
            *said[:place],
            words.FIRST_CONTENT + words.PER_TOPIC * others[int(k)] + int(word),
            *said[place + 1 :],
        ]
        clean.append((prompt, said))
        wrong.append((prompt, changed))
        column.append(at)
    both = [*clean, *wrong]
    return recorded([p for p, _ in both], [r for _, r in both]), torch.tensor(column)


def rank(size: Tensor, mask: Tensor, column: Tensor) -> float:
    """Mean share of a row's other tokens that are smaller than the one in ``column`` (½: chance; a tie counts ½)."""
    own = size.gather(1, column[:, None])
    others = mask & (torch.arange(mask.shape[1]) != column[:, None])
    below = (size < own).float() + 0.5 * (size == own).float()
    return float(((below * others).sum(1) / others.sum(1).clamp(min=1))[others.any(1)].mean())
