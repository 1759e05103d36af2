"""Sampling from the finite testbed: tables as rewards, equal prompts for DPO and PPO, another writer's style."""

from collections import Counter

import torch

from guerdon.batch import Seed
from guerdon.lab import finite
from guerdon.lab.finite_online import TableReward, ppo, reads_first, styled
from guerdon.objectives import dpo
from guerdon.rewards.interface import Context
from guerdon.worlds.finite import exact

BED = finite.finite(Seed(5), prompts=4, responses=16)


def test_a_table_scores_what_was_drawn() -> None:
    world, snapshots = BED.fresh()
    samples = world.sample(snapshots, [0, 3], 5, seed=Seed(1))
    scores, _ = TableReward(BED.gold).score(samples, {}, Context())
    rows = samples.payload
    assert torch.equal(scores.only().value, BED.gold[rows.prompt, rows.response])


def test_dpo_and_ppo_consume_the_same_prompts() -> None:
    """Every prompt of the testbed, each equally often a round in PPO; pairs are drawn from the same prompts."""
    recipe = ppo(BED, BED.gold, 0.1, Seed(0), rounds=1, each=8)
    assert Counter(recipe.source.draw(0).starts) == dict.fromkeys(range(4), 8)
    compared = finite.compare(BED, 64, Seed(0))
    pairs = finite.offline(BED, compared, dpo(0.1), rounds=1).source.draw(0)
    assert set(pairs.samples.prompts) == set(range(4))


def test_a_narrow_reward_model_sees_the_same_gold() -> None:
    narrow = reads_first(BED, 3)
    assert narrow.features.shape == (4, 16, 3) and torch.equal(narrow.gold, BED.gold)


def test_the_other_writer_is_better_and_shows_its_style() -> None:
    bed, other = styled(BED, Seed(2))
    style = bed.features[..., -1]
    assert torch.equal(bed.gold, BED.gold)
    assert float(exact.expected(bed.reference, style).mean()) < 0.2 < 0.8 < float(exact.expected(other, style).mean())
    assert float(exact.expected(other, bed.gold).mean()) > bed.start
