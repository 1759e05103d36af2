"""The tree world: probabilities by hand, and what its measurements mean at the reference."""

import math

import pytest
import torch

from guerdon.batch import Seed
from guerdon.lab import trees
from guerdon.objectives import dpo
from guerdon.training.run import run


def test_a_leaf_is_the_product_of_its_branches() -> None:
    policy = trees.TreePolicy([torch.tensor([[0.0, math.log(3.0)]]), torch.tensor([[0.0, 0.0], [math.log(4.0), 0.0]])])
    assert policy()[0].exp().tolist() == pytest.approx([0.125, 0.125, 0.6, 0.15])


def test_the_reference_is_at_distance_nought_and_every_policy_sums_to_one() -> None:
    bed = trees.tree(Seed(3))
    recipe = trees.offline(bed, dpo(0.1), rounds=30)
    start = trees.evaluate(bed, recipe.snapshots)
    assert start["kl"] == pytest.approx(0.0, abs=1e-6) and 0 < start["unseen"] < 1
    run(recipe)
    after = trees.evaluate(bed, recipe.snapshots)
    assert after["kl"] > 0.05
    with torch.no_grad():
        assert float(recipe.snapshots.module().exp().sum()) == pytest.approx(1.0, abs=1e-5)


def test_pairs_are_different_leaves_the_better_first() -> None:
    bed = trees.tree(Seed(0), pairs=20)
    assert bool((bed.gold[bed.winner] > bed.gold[bed.loser]).all())
    assert int(bed.seen.sum()) == len(set(bed.winner.tolist()) | set(bed.loser.tolist()))
