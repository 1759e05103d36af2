"""finite: gold by hand, pairs and their knobs, the fitted reward, exact frontiers."""

import pytest
import torch

from guerdon.batch import Seed
from guerdon.errors import GuerdonError
from guerdon.lab import finite as fin
from guerdon.objectives import dpo
from guerdon.training.run import run


def test_excess_by_hand() -> None:
    phi = torch.zeros(4, 3)
    phi[:, 0] = torch.tensor([-5.0, 1.0, 2.0, 9.0])
    assert fin.excess(phi).tolist() == [0.0, 0.0, 1.5, 6.0]


def test_a_seed_is_a_testbed() -> None:
    a, b, c = fin.finite(Seed(0)), fin.finite(Seed(0)), fin.finite(Seed(1))
    assert torch.equal(a.gold, b.gold) and not torch.equal(a.gold, c.gold)
    assert torch.allclose(a.reference.exp().sum(-1), torch.ones(16))


def test_pairs_are_two_responses_labelled_by_gold() -> None:
    bed = fin.finite(Seed(0))
    pairs = fin.compare(bed, 2000, Seed(0))
    gap = bed.gold[pairs.prompt, pairs.winner] - bed.gold[pairs.prompt, pairs.loser]
    assert bool((pairs.winner != pairs.loser).all())
    # Bradley–Terry labels agree with gold as often as the probabilities say.
    assert float((gap > 0).float().mean()) == pytest.approx(float(gap.abs().sigmoid().mean()), abs=0.03)
    flipped = fin.compare(bed, 2000, Seed(0), flip=1.0)
    assert torch.equal(flipped.winner, pairs.loser)


def test_the_length_knob_and_the_coverage_knob() -> None:
    bed = fin.finite(Seed(0))

    def rise(pairs: fin.Comparisons) -> float:
        phi = bed.features[..., 0]
        return float((phi[pairs.prompt, pairs.winner] - phi[pairs.prompt, pairs.loser]).mean())

    assert rise(fin.compare(bed, 1000, Seed(0), length=3.0)) > rise(fin.compare(bed, 1000, Seed(0))) + 0.3
    few = fin.compare(bed, 500, Seed(0), coverage=0.1)
    assert set(few.prompt.tolist()) == {0, 1}
    assert len(set(few.winner.tolist()) | set(few.loser.tolist())) <= 2 * 13
    with pytest.raises(GuerdonError, match="coverage"):
        fin.compare(bed, 10, Seed(0), coverage=0.0)


def test_the_fitted_reward_is_a_stationary_point_of_the_penalised_likelihood() -> None:
    bed = fin.finite(Seed(0))
    pairs = fin.compare(bed, 300, Seed(0))
    reward = fin.fit_reward(bed, pairs, ridge=1.0)
    weight = torch.linalg.lstsq(bed.features.reshape(-1, 8), reward.reshape(-1, 1)).solution[:, 0]
    gap = bed.features[pairs.prompt, pairs.winner] - bed.features[pairs.prompt, pairs.loser]
    gradient = gap.T @ (-(gap @ weight)).sigmoid() - weight
    assert float(gradient.abs().max()) < 1e-3
    assert fin.accuracy(bed, reward) > 0.75
    assert fin.accuracy(bed, bed.gold) == 1.0


def test_optimising_gold_beats_optimising_a_proxy_at_every_kl_and_the_proxy_turns_down() -> None:
    bed = fin.finite(Seed(0))
    proxy = fin.fit_reward(bed, fin.compare(bed, 300, Seed(0)))
    line = fin.frontier(bed, proxy, [64.0, 1.0, 0.25, 0.02])
    assert [k for k, _ in line] == sorted(k for k, _ in line)
    assert line[0][1] == pytest.approx(bed.start, abs=0.1)
    assert line[-1][1] < line[-2][1]
    assert fin.frontier(bed, bed.gold, [0.02])[0][1] > line[-1][1]


def test_an_objective_trains_on_it() -> None:
    bed = fin.finite(Seed(0))
    recipe = fin.offline(bed, fin.compare(bed, 200, Seed(0)), dpo(0.3), rounds=10)
    before = fin.evaluate(bed, recipe.snapshots)
    run(recipe)
    after = fin.evaluate(bed, recipe.snapshots)
    assert before["kl"] == pytest.approx(0.0, abs=1e-6)
    assert after["gold"] > before["gold"] and after["kl"] > 0.01
