"""Rows read for sums over the batch alone are spared the backward pass, and nothing but time changes."""

import copy
from typing import Any

import pytest
import torch

from guerdon.batch import Batch, Samples
from guerdon.objectives import Objective, kto, sft
from guerdon.training import Optim, Recipe, Unpaired, evidence, run
from guerdon.worlds import Frozen, Snapshots
from guerdon.worlds.text import TextWorld
from tests.worlds.tiny import tiny

PROMPTS = [[1, 5, 6, 7], [1, 5, 6, 7], [1, 9], [1, 4, 4]]
RESPONSES = [[8, 9], [8], [7, 6, 5, 4, 3], [5, 5]]
OTHER = [2, 3, 0, 1]


class Watched(TextWorld):
    """Notes which rows ``rescore`` may spare."""

    asked: list[Any]

    def rescore(self, *args: Any, still: torch.Tensor | None = None, **more: Any) -> Any:
        self.asked.append(still)
        return super().rescore(*args, still=still, **more)


def recipe(world: TextWorld, objective: Objective) -> Recipe:
    samples = world.recorded([*PROMPTS, *PROMPTS], [*RESPONSES, *(RESPONSES[i] for i in OTHER)])
    source = Unpaired(samples, torch.tensor([True, False, True, False]), 4, None)
    return Recipe(world, Snapshots(world.model, reference=Frozen()), source, objective, Optim(lr=1e-2), 3)


def trained(spares: bool, objective: Objective) -> tuple[list[float], list[torch.Tensor], list[Any]]:
    world = Watched(copy.deepcopy(tiny("llama")), eos=2)
    world.asked, world.spares = [], spares
    done = run(recipe(world, objective))
    return [m["loss"] for m in done.history], [p.detach() for p in world.model.parameters()], world.asked


def test_a_run_is_the_same_with_and_without_the_spared_gradient() -> None:
    """To float32's rounding over three updates: products over fewer rows at once may add up in another order."""
    (fast, weights, asked), (slow, others, _) = (trained(s, kto(0.5)) for s in (True, False))
    assert any(x is not None and x.tolist() == [False, True] * 4 for x in asked)
    assert fast == pytest.approx(slow, abs=1e-6)
    for a, b in zip(weights, others, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("objective", [kto(0.5) + 0.1 * sft("mismatched"), kto(0.5) + 0.1 * sft("desirable")])
def test_where_another_term_may_read_them_nothing_is_spared(objective: Objective) -> None:
    _, _, asked = trained(True, objective)
    assert all(x is None for x in asked)


def test_a_row_that_is_also_labelled_is_not_still() -> None:
    world = TextWorld(tiny("llama"), eos=2)
    made = recipe(world, kto(0.5))
    samples: Samples = made.source.draw(0).samples  # type: ignore[assignment]
    steps = world.rescore(made.snapshots, samples, ("policy", "reference"))
    rows = {"desirable": torch.tensor([0, 4]), "undesirable": torch.tensor([1]), "mismatched": torch.tensor([1, 3])}
    found = evidence.still(made, kto(0.5), Batch(steps, rows=rows))
    assert found is not None
    assert found.nonzero().flatten().tolist() == [3]


@pytest.mark.parametrize("still", [[True] * 8, [False, True] * 4, [True, False] * 4])
@pytest.mark.parametrize("most", [4, 10_000])
def test_rescoring_is_the_same_whichever_rows_are_still(still: list[bool], most: int) -> None:
    """Also where a pack holds still rows alone. To float32's rounding, as above."""
    world = TextWorld(tiny("llama"), eos=2, max_tokens=most)
    made = recipe(world, kto(0.5))
    samples: Samples = made.source.draw(0).samples  # type: ignore[assignment]
    names, stats = ("policy", "reference"), ("entropy",)
    spared = world.rescore(made.snapshots, samples, names, stats, still=torch.tensor(still))
    plain = world.rescore(made.snapshots, samples, names, stats)
    for a, b in ((spared.logp, plain.logp), (spared.stats, plain.stats)):
        for key in b:
            torch.testing.assert_close(a[key], b[key], atol=1e-5, rtol=1e-5)
