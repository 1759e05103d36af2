"""Lists of a prompt's samples: who is in them, and BRAIn and GPO on them through the loop."""

from __future__ import annotations

import pytest
import torch

from guerdon.batch import Channel, Samples, Scores, Seed, Steps
from guerdon.objectives import brain
from guerdon.rewards.interface import Context, Reward, State
from guerdon.training import Optim, Prompts, Recipe, Rollout, lists_of, prompt_lists, run
from guerdon.training.presets import online
from guerdon.worlds import CopyEvery, Frozen, Snapshots
from guerdon.worlds.finite import FiniteWorld, TabularPolicy, exact, lookup


def test_rows_of_a_prompt_in_order():
    ids = torch.tensor([5, 3, 5, -1, 3, 5])
    ok = torch.tensor([True, True, True, True, True, False])
    lists = lists_of(ids, torch.arange(6.0), ok)
    assert lists.rows.tolist() == [[1, 4], [0, 2]]
    assert lists.values().tolist() == [[1.0, 4.0], [0.0, 2.0]]
    ragged = lists_of(torch.tensor([0, 1, 1]), torch.arange(3.0), torch.ones(3, dtype=torch.bool))
    assert ragged.rows.tolist() == [[0, -1], [1, 2]]
    assert len(lists_of(ids, torch.arange(6.0), torch.zeros(6, dtype=torch.bool))) == 0


def rollout() -> Rollout:
    values = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0])
    steps = Steps(torch.ones(5, 1, dtype=torch.bool), {"sampler": torch.zeros(5, 1)})
    return Rollout(Samples(torch.zeros(5, 1), [1, 1, 2, 3, 3]), steps, scores=Scores({"r": Channel(values)}))


def test_prompts_with_one_row_are_left_out_with_it():
    drawn = rollout()
    (batch,) = prompt_lists()(drawn.batch(), drawn)
    assert len(batch) == 4 and batch.lists.values().tolist() == [[1.0, 2.0], [4.0, 5.0]]
    parts = list(prompt_lists(count=2, epochs=3)(drawn.batch(), drawn))
    assert [len(p.lists) for p in parts] == [1] * 6 and prompt_lists(count=2, epochs=3).updates == 6
    assert list(prompt_lists(least=3)(drawn.batch(), drawn)) == []


class Table(Reward):
    """Exact rewards of a finite world."""

    name, channels = "table", ("table",)

    def __init__(self, value: torch.Tensor) -> None:
        self.value = value

    def score(self, samples: Samples, state: State, context: Context) -> tuple[Scores, State]:
        return Scores({"table": Channel(lookup(self.value, samples))}), state


def test_brain_reaches_the_posterior():
    """The optimum of reward minus γ·KL, from samples of the policy itself, over several updates a round."""
    g = torch.Generator().manual_seed(0)
    start, value, gamma = torch.randn(2, 4, generator=g), torch.randn(2, 4, generator=g), 0.7
    snapshots = Snapshots(TabularPolicy(start), reference=Frozen())
    recipe = Recipe(
        FiniteWorld(),
        snapshots,
        Prompts([0, 1], 2),
        brain(gamma),
        Optim(lr=0.05, kind="adam", clip=None, schedule="linear"),
        150,
        Seed(0),
        reward=Table(value),
        per_start=64,
        build=prompt_lists(epochs=2),
    )
    run(recipe)
    with torch.no_grad():
        law = snapshots.module().softmax(-1)
    best = exact.tilted(start.log_softmax(-1), value, gamma).exp()
    torch.testing.assert_close(law, best, atol=0.03, rtol=0)


@pytest.mark.parametrize("method", ["brain-online", "gpo-online"])
def test_online_presets_raise_the_exact_expected_reward(method):
    g = torch.Generator().manual_seed(1)
    start, value = torch.randn(3, 6, generator=g), torch.randn(3, 6, generator=g)
    reference = CopyEvery(10) if method == "gpo-online" else Frozen()
    world, snapshots = FiniteWorld(), Snapshots(TabularPolicy(start), reference=reference)

    def expected() -> float:
        with torch.no_grad():
            return float(exact.expected(world.log_probabilities(snapshots), value).mean())

    before = expected()
    hyper = {"beta": 0.5} if method == "gpo-online" else {"gamma": 0.5}
    optim = Optim(lr=0.05, kind="adam")
    run(online(method, world, snapshots, Prompts([0, 1, 2], 3), Table(value), rounds=30, optim=optim, **hyper))
    assert expected() > before + 0.3
