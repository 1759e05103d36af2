"""Every preset of the links trains from the table alone, whatever its micro-batches, and parts what it is shown."""

from __future__ import annotations

import pytest
import torch

from guerdon.batch import Pairs, Samples
from guerdon.training import Micro, Optim, Recorded, Unpaired, mismatched, run
from guerdon.training.methods.links import PRESETS
from guerdon.training.methods.preset import Preset
from guerdon.worlds.snapshots import Snapshots
from tests.training.toy import Symbols, Table, ToyWorld

HALF = 12


def source(preset: Preset) -> Recorded | Unpaired:
    """Rows whose first symbol is 0 or 1 in the first half, which is preferred, and 3 or 4 in the second."""
    g = torch.Generator().manual_seed(5)
    symbols = torch.randint(0, 5, (2 * HALF, 3), generator=g)
    symbols[:, 0] = symbols[:, 0] % 2 + 3 * (torch.arange(2 * HALF) >= HALF)
    prompts = [i % HALF % 4 for i in range(2 * HALF)]
    if preset.reads == "pairs":
        rows = Samples(Symbols(symbols, torch.full((2 * HALF,), 3)), prompts)
        return Recorded(rows, HALF, Pairs(torch.arange(HALF), torch.arange(HALF, 2 * HALF)))
    both = torch.cat([symbols, symbols[mismatched(prompts)]])
    rows = Samples(Symbols(both, torch.full((4 * HALF,), 3)), [*prompts, *prompts])
    return Unpaired(rows, torch.arange(2 * HALF) < HALF, 2 * HALF)


@pytest.mark.parametrize("preset", PRESETS, ids=lambda p: p.name)
def test_it_trains_and_parts_what_it_is_shown(preset: Preset) -> None:
    """The loss falls and the preferred rows' first symbols gain on the others'. DiscoPOP with its β begins on a rise of
    its loss and first lowers its margins."""
    values = []
    for rows in (None, 7):
        snapshots = Snapshots(Table(), **preset.rules())
        made = preset.recipe(
            ToyWorld(),
            snapshots,
            source(preset),
            rounds=15,
            optim=Optim(lr=0.1, kind="adam"),
            micro=Micro(rows=rows),
        )
        history = run(made).history
        values.append([float(x["loss"]) for x in history])
        assert values[-1][-1] < values[-1][0]
        moved = (snapshots.module.logits - Table().logits).detach()[:, 0]
        gap = (moved[:, :2].mean() - moved[:, 3:].mean()).item()
        assert gap < -0.1 if preset.name == "discopop" else gap > 0.1
    assert values[1] == pytest.approx(values[0], rel=1e-3, abs=1e-4)
