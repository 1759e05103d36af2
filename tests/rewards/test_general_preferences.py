"""The skew-symmetric head on vectors: cycles are learned, embeddings are counted, rewards are mean scores."""

from __future__ import annotations

import torch

from guerdon.batch import Preference, Samples, Seed
from guerdon.preferences import skew_score
from guerdon.rewards.interface import Context
from guerdon.rewards.models import GeneralPreferenceHead, GeneralPreferenceReward, LinearHead
from guerdon.training.general_preferences import fit_general_head, fit_general_preference
from guerdon.training.reward_models import fit_head

A, B, C = torch.eye(3)
WINNER, LOSER = torch.stack([A, B, C]), torch.stack([B, C, A])
WORDS = {"rock": 0, "paper": 1, "scissors": 2}


class Words:
    """Texts of one word as one-hot vectors; counts how many it was asked for."""

    def __init__(self) -> None:
        self.asked = 0

    def __call__(self, texts: list[str]) -> torch.Tensor:
        self.asked += len(texts)
        return torch.stack([torch.eye(3)[WORDS.get(t, 0)] for t in texts])


def test_a_cycle_is_learned_where_bradley_terry_stays_at_a_tie():
    head = GeneralPreferenceHead(3)
    history = fit_general_head(head, WINNER, LOSER, temperature=1.0, weight_decay=0.0)
    assert bool((head.score(WINNER, LOSER) > 1.0).all())
    assert history[-1] < 0.3 < history[0]
    scalar = LinearHead(3)
    fit_head(scalar, WINNER, LOSER, weight_decay=1e-4)
    assert (scalar(WINNER) - scalar(LOSER)).abs().max().item() < 1e-3


def test_a_cycle_and_a_ranking_at_once_need_two_blocks():
    """Four items: three in a cycle that all beat the fourth."""
    four = torch.eye(4)
    winner, loser = four[[0, 1, 2, 0, 1, 2]], four[[1, 2, 0, 3, 3, 3]]
    head = GeneralPreferenceHead(4, blocks=2, seed=Seed(1))
    fit_general_head(head, winner, loser, temperature=1.0, weight_decay=0.0)
    assert bool((head.score(winner, loser) > 1.0).all())


def test_the_gate_starts_even_and_learns_which_block_counts():
    """One pair of responses, preferred one way after one prompt and the other way after another."""
    prompt = torch.eye(2)
    winner, loser = torch.stack([A, B]), torch.stack([B, A])
    head = GeneralPreferenceHead(3, blocks=2, prompt=2, seed=Seed(0))
    assert torch.equal(head.gate(prompt), torch.ones(2, 2))
    fit_general_head(head, winner, loser, prompt=prompt, temperature=1.0, weight_decay=0.0, steps=500, lr=3e-2)
    assert bool((head.score(winner, loser, prompt) > 0.5).all())
    gate = head.gate(prompt)
    assert gate is not None and torch.allclose(gate.sum(-1), torch.full((2,), 2.0))


def test_normalised_embeddings_have_length_one():
    head = GeneralPreferenceHead(3, blocks=2, normalise=True)
    torch.testing.assert_close(head(7 * WINNER).norm(dim=-1), torch.ones(3))


def test_from_frozen_embeddings_to_a_reward():
    records = [
        Preference.pair("play", w, l) for w, l in (("paper", "rock"), ("scissors", "paper"), ("rock", "scissors"))
    ]
    words = Words()
    model, _ = fit_general_preference(records, words, blocks=1, temperature=1.0, weight_decay=0.0)
    words.asked = 0
    v = model.embed_texts(["play"] * 3, ["rock", "paper", "scissors"])
    assert words.asked == 3  # a table of nine comparisons costs three embeddings
    table = skew_score(v[:, None], v[None])
    assert table[1, 0] > 1 and table[2, 1] > 1 and table[0, 2] > 1
    torch.testing.assert_close(model.compare_texts(["play"], ["paper"], ["rock"])[0], table[1, 0])
    samples = Samples(None, ["x", "x", "y", "x"], ["rock", "paper", "rock", "paper"])
    scores, _ = GeneralPreferenceReward(model).score(samples, {}, Context())
    value = scores["preference"].value
    # rock among rock, paper, paper; paper likewise; a prompt with one response scores 0
    expected = torch.stack([2 * table[0, 1] / 3, table[1, 0] / 3, table[0, 0], table[1, 0] / 3])
    torch.testing.assert_close(value, expected, atol=1e-5, rtol=1e-5)
