"""RSO's sampling, pairing and records (card 159)."""

import math
from collections import Counter

import pytest
import torch

from guerdon.batch import Message, Preference, Seed
from guerdon.data import first_round_pairs, rejected, rejection_sample, told, tournament_pairs
from guerdon.data.rejection import by_reward
from guerdon.errors import DataError, GuerdonError


def test_acceptance_of_the_card():
    """r = (2, 1, 0), β = ½: round one accepts with (1, 0.135335, 0.018316), so all that round two begins with."""
    draws = 4000
    in_round_one = Counter[int]()
    for i in range(draws):
        u = torch.rand(3, generator=Seed(i).child("rejection").torch(), dtype=torch.float64).tolist()
        accepted = [0] + [k for k in (1, 2) if u[k] < math.exp(-k / 0.5)]
        found = rejection_sample([2.0, 1.0, 0.0], 3, 0.5, Seed(i))
        assert found[: len(accepted)] == accepted
        in_round_one.update(accepted)
    assert in_round_one[1] / draws == pytest.approx(0.135335, abs=4 * math.sqrt(0.135 * 0.865 / draws))
    assert in_round_one[2] / draws == pytest.approx(0.018316, abs=4 * math.sqrt(0.018 * 0.982 / draws))


def test_always_so_many_and_none_twice():
    for count in (1, 3, 6):
        found = rejection_sample([0.0, 5.0, -3.0, 1.0, 1.0, 0.5], count, 0.2, Seed(3))
        assert len(found) == len(set(found)) == count


def test_a_shift_of_the_rewards_changes_nothing():
    rewards = [0.5, 2.0, -1.0, 0.25, 3.0]
    for i in range(20):
        shifted = [r + 64.0 for r in rewards]
        assert rejection_sample(rewards, 3, 0.5, Seed(i)) == rejection_sample(shifted, 3, 0.5, Seed(i))


def test_the_two_ends_of_the_temperature():
    rewards = [0.5, 2.0, -1.0, 0.25, 3.0]
    assert rejection_sample(rewards, 3, math.inf, Seed(0)) == [0, 1, 2]  # the start policy's own draws
    for cold in (0.0, 1e-9):
        assert rejection_sample(rewards, 3, cold, Seed(0)) == [4, 1, 0]  # the best ones
    assert rejection_sample([1.0, 1.0, 1.0], 2, 0.0, Seed(0)) == [0, 1]


def test_one_of_many_follows_the_tilted_law():
    """One kept of 3,000 draws from π_sft at a time, with the true maximum among them: π_sft e^{r/β}."""
    reference, reward, beta = torch.tensor([0.6, 0.3, 0.1]), [0.0, 0.5, 1.0], 0.5
    expected = reference * torch.tensor([math.exp(r / beta) for r in reward])
    expected = expected / expected.sum()
    drawn = torch.multinomial(reference, 3000, replacement=True, generator=Seed(1).torch()).tolist()
    rewards = [reward[y] for y in drawn]
    # All that round one accepts: what is taken before the maximum is known to be gone.
    u = torch.rand(3000, generator=Seed(2).child("rejection").torch(), dtype=torch.float64).tolist()
    accepted = sum(r == 1.0 or x < math.exp((r - 1.0) / beta) for r, x in zip(rewards, u, strict=True))
    found = Counter(drawn[i] for i in rejection_sample(rewards, accepted, beta, Seed(2)))
    for y in range(3):
        spread = math.sqrt(float(expected[y]) * (1 - float(expected[y])) / accepted)
        assert found[y] / accepted == pytest.approx(float(expected[y]), abs=4 * spread)


def test_first_round_pairs_use_everyone_at_most_once():
    rewards = [3.0, 1.0, 2.0, 0.0, 5.0, 4.0, 6.0]
    pairs = first_round_pairs([6, 0, 2, 3, 1], by_reward(rewards), Seed(0))
    assert len(pairs) == 2 and len({i for p in pairs for i in p}) == 4
    assert all(rewards[w] > rewards[l] for w, l in pairs)


def test_a_tournament_has_one_game_less_than_players():
    rewards = [3.0, 1.0, 2.0, 0.0, 5.0, 4.0, 6.0]
    for players in range(1, 8):
        pairs = tournament_pairs(list(range(players)), by_reward(rewards), Seed(players))
        assert len(pairs) == players - 1
        assert len({l for _, l in pairs}) == len(pairs)  # who loses is out
        best = max(range(players), key=lambda i: rewards[i])
        assert all(best != l for _, l in pairs)


def test_the_judge_labels_and_ties_give_no_pair():
    assert first_round_pairs([0, 1], lambda i, j: float(i < j), Seed(0)) == [(0, 1)]
    assert first_round_pairs([0, 1], lambda i, j: float(i > j), Seed(0)) == [(1, 0)]
    assert tournament_pairs([0, 1, 2], lambda i, j: 0.5, Seed(0)) == []


def candidates(prompt: str, *scores: float | None) -> Preference:
    responses = tuple((Message.of("assistant", "same" if i < 2 else f"r{i}"),) for i in range(len(scores)))
    return Preference((Message.of("user", prompt),), responses, scores=scores, source=f"{prompt}:1")


def test_records_become_pairs_labelled_by_score():
    records = [candidates("a", 0.1, 2.0, -1.0, 0.7, 0.2, 0.9, 1.5, 0.3, -0.4, 1.1), candidates("b", 1.0, 0.0)]
    made = rejected(records, keep=8, temperature=0.5)
    assert [r.prompt_text for r in made] == ["a"] * 4 + ["b"]
    assert all(r.scores[0] > r.scores[1] and r.source for r in made)
    about = told(made[-1])[-1]
    assert about == {
        "transform": "rejected", "temperature": 0.5, "keep": 8, "pairing": "first-round", "candidates": [0, 1]
    }  # fmt: skip
    assert len(rejected(records, pairing="tournament")) == 7 + 1
    assert rejected(records) == rejected(records)


def test_what_cannot_be_is_refused():
    with pytest.raises(DataError, match="needs a score for every response"):
        rejected([candidates("a", 1.0, None)])
    with pytest.raises(DataError, match="No pair is left"):
        rejected([candidates("a", 1.0, 1.0)])
    with pytest.raises(DataError, match="tournament"):
        rejected([candidates("a", 1.0, 0.0)], pairing="all")
    for count, beta, rewards in ((0, 0.5, [1.0]), (2, 0.5, [1.0]), (1, -1.0, [1.0]), (1, 0.5, [math.nan])):
        with pytest.raises(GuerdonError, match="rejection_sample keeps"):
            rejection_sample(rewards, count, beta, Seed(0))
