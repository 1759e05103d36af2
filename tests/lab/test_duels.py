"""The contest of cyclic preferences: exact exploitability, minimax winners, and the reward that is fitted to it."""

from __future__ import annotations

import pytest
import torch

from guerdon.batch import Samples, Seed
from guerdon.lab import duels
from guerdon.objectives import sppo
from guerdon.rewards import Context
from guerdon.training import best_worst_duels, run
from guerdon.worlds.finite import FiniteRows
from guerdon.worlds.games import minimax_winner

BED = duels.contest(Seed(3), prompts=4, responses=6)


def test_preferences_are_antisymmetric_and_go_round() -> None:
    torch.testing.assert_close(BED.preference + BED.preference.transpose(1, 2), torch.ones(4, 6, 6))
    plain = duels.contest(Seed(3), prompts=4, responses=6, spread=0.0).preference
    for first, second in ((0, 1), (1, 2), (2, 0), (3, 4), (0, 4)):  # cluster y mod 3
        assert bool((plain[:, first, second] > 0.7).all())  # the weakest edge is σ(1)
    assert plain[:, 0, 3].tolist() == [0.5] * 4


def test_exploitability_is_zero_at_the_minimax_winner_alone() -> None:
    winner = torch.stack([minimax_winner(p) for p in BED.preference]).float()
    assert BED.exploitability(winner) == pytest.approx(0.0, abs=1e-6)
    pure = torch.zeros(4, 6)
    pure[:, 0] = 1.0
    best = BED.preference[:, :, 0].amax(-1).mean() - 0.5
    assert BED.exploitability(pure) == pytest.approx(float(best), abs=1e-6)


def test_scores_are_those_that_explain_the_duels() -> None:
    """Where preferences are Bradley–Terry, the fit finds their scores; where they go round evenly, none."""
    truth = torch.tensor([[0.0, 1.0, -1.0]])
    bed = duels.Contest(Seed(0), torch.sigmoid(truth[:, :, None] - truth[:, None, :]), torch.zeros(1, 3))
    rows = FiniteRows(torch.zeros(30, dtype=torch.int64), torch.arange(3).repeat(10))
    samples = Samples(rows, [0] * 30)
    reward = duels.FittedScores(bed, ridge=1e-6, steps=300)
    found, state = reward.score(samples, reward.init(), Context())
    assert found["fitted"].value[:3].tolist() == pytest.approx([0.0, 1.0, -1.0], abs=1e-3)
    assert state["met"].sum().item() == 900
    circle = torch.tensor([[[0.5, 0.9, 0.1], [0.1, 0.5, 0.9], [0.9, 0.1, 0.5]]])
    found, _ = (none := duels.FittedScores(duels.Contest(Seed(0), circle, torch.zeros(1, 3)))).score(
        samples, none.init(), Context()
    )
    assert found["fitted"].value.abs().max().item() < 1e-6


def test_the_average_of_a_run() -> None:
    """The mean over rounds, and what a checkpoint keeps of it."""
    average = duels.Averaging()
    recipe = duels.online(
        BED, sppo(1.0), build=best_worst_duels(BED.judge), rounds=3, every=2, lr=0.1, companions=(average,)
    )
    run(recipe)
    found = duels.measured(BED, recipe, average)
    assert average.rounds == 3 and torch.allclose(average.law.sum(-1), torch.ones(4))
    assert found["start"] == pytest.approx(BED.exploitability(torch.softmax(BED.start, -1)))
    assert found["last"] != found["start"]
    again = duels.Averaging()
    again.load_state_dict(average.state_dict())
    assert torch.equal(again.law, average.law)
