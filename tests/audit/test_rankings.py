"""Ranking accuracy, its ideal and what a loss says of it (card 178), by hand and as identities."""

import math
from dataclasses import replace

import pytest
import torch

from guerdon.audit.ranking_report import rankings
from guerdon.audit.rankings import (
    PairLogps,
    alignment_gap,
    difficulty_bins,
    flip_threshold,
    flips,
    idealised,
    list_accuracy,
    out_of_reach_of_ipo,
    pair_logps,
    ranked_rightly,
    ranking_accuracy,
)
from guerdon.batch import Batch, Pairs, Steps
from guerdon.errors import GuerdonError
from guerdon.objectives import dpo, ipo_sum


def random_pairs(n: int = 400, seed: int = 0) -> PairLogps:
    draw = torch.randn(4, n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 5 - 30
    return PairLogps(*draw, torch.full((n,), 4), torch.full((n,), 6))


def as_batch(logps: PairLogps) -> Batch:
    policy = torch.cat([logps.winner, logps.loser])[:, None]
    reference = torch.cat([logps.of_winner, logps.of_loser])[:, None]
    n = len(logps)
    steps = Steps(torch.ones(2 * n, 1, dtype=torch.bool), {"policy": policy, "reference": reference})
    return Batch(steps, pairs=Pairs(torch.arange(n), torch.arange(n, 2 * n)))


def losses(objective, logps: PairLogps) -> torch.Tensor:
    return objective.terms[0].unit(as_batch(logps), {})


def test_the_threshold_by_hand() -> None:
    found = flip_threshold(torch.tensor([2.0, 20.0, 0.0], dtype=torch.float64), 0.1)
    assert found.tolist() == pytest.approx([0.598139, 0.126928, math.log(2)], abs=1e-6)


@pytest.mark.parametrize("beta", [0.01, 0.1, 1.0])
def test_a_pair_is_ranked_rightly_exactly_where_its_loss_is_below_the_threshold(beta: float) -> None:
    logps = random_pairs()
    below = losses(dpo(beta), logps) <= flip_threshold(logps.difficulty, beta)
    assert torch.equal(below, ranked_rightly(logps.winner, logps.loser))
    assert 0.2 < below.double().mean() < 0.8


def test_a_loss_of_six_tenths_proves_the_ranking_where_the_reference_is_right() -> None:
    logps = random_pairs()
    safe = (logps.difficulty <= 0) & (losses(dpo(0.1), logps) <= 0.6)
    assert safe.any() and ranked_rightly(logps.winner, logps.loser)[safe].all()
    unsafe = (logps.difficulty > 0) & (losses(dpo(0.1), logps) <= 0.6)
    assert not ranked_rightly(logps.winner, logps.loser)[unsafe].all()


def test_no_ipo_loss_turns_a_pair_that_is_wrong_by_more_than_its_margin() -> None:
    """At loss 0 the gap is the reference's plus 1/(2τ): −6 + 5 and −4 + 5 at τ = 0.1."""
    reference_gap = torch.tensor([-6.0, -4.0])
    assert out_of_reach_of_ipo(reference_gap, 0.1).tolist() == [True, False]
    zero, two = torch.zeros(2), torch.full((2,), 1)
    best = PairLogps(reference_gap + 5.0, zero, reference_gap, zero, two, two)
    assert losses(ipo_sum(0.1), best).tolist() == pytest.approx([0.0, 0.0], abs=1e-10)
    assert ranked_rightly(best.winner, best.loser).tolist() == [False, True]


def test_the_idealised_policy_by_hand() -> None:
    """Ratio ½ and three of four raters at β = 1: ½·3 > 1; at β = 2: ½·√3 < 1; certain raters are 1 − 10⁻³."""
    gap = torch.tensor([math.log(0.5)])
    assert idealised(gap, 1.0, 0.75).item() and not idealised(gap, 2.0, 0.75).item()
    certain = math.log(999)
    assert idealised(torch.tensor([-certain + 1e-3, -certain - 1e-3]), 1.0, torch.tensor([1.0, 1.0])).tolist() == [
        True,
        False,
    ]
    with pytest.raises(GuerdonError, match="beta > 0"):
        idealised(gap, 0.0)


def test_a_small_beta_ranks_everything_as_the_raters_and_a_large_one_as_the_reference() -> None:
    logps = random_pairs()
    found = alignment_gap(logps, (1e-4, 1e6))
    reference = ranking_accuracy(logps.of_winner, logps.of_loser)
    now = ranking_accuracy(logps.winner, logps.loser)
    assert found.idealised == {1e-4: 1.0, 1e6: pytest.approx(reference)}
    assert (found.least, found.most) == pytest.approx(sorted((1.0 - now, reference - now)))
    assert found.median == pytest.approx((found.least + found.most) / 2)


def test_accuracy_by_the_token_differs_on_unequal_lengths() -> None:
    """−6 over 6 tokens against −5 over 2: less likely as a whole, likelier a token."""
    one = torch.ones(1)
    logps = PairLogps(-6 * one, -5 * one, -7 * one, -5 * one, torch.tensor([6]), torch.tensor([2]))
    found = rankings(logps)
    assert (found.accuracy.estimate, found.per_step.estimate, found.reward.estimate) == (0.0, 1.0, 1.0)
    assert found.difficulty[5].pairs == 1 and found.difficulty[5].right == 0.0  # c = 2 lies in [1, 5)


def test_lists_are_right_only_as_a_whole() -> None:
    value = torch.tensor([[3.0, 2.0, 1.0], [3.0, 2.0, 1.0], [2.0, 2.0, 1.0]])
    logp = torch.tensor([[-1.0, -2.0, -3.0], [-1.0, -3.0, -2.0], [-5.0, -4.0, -6.0]])
    assert list_accuracy(logp, value) == pytest.approx(2 / 3)


def test_bookkeeping_counts_every_pair_once() -> None:
    before, after = torch.tensor([1, 1, 0, 0, 0]).bool(), torch.tensor([1, 0, 1, 0, 0]).bool()
    found = flips(before, after)
    assert (found.kept, found.lost, found.won, found.left) == (1, 1, 1, 2)
    assert found.flipped == pytest.approx(1 / 3)
    assert flips(before[:2], after[:2]).flipped is None


def test_the_histogram_holds_every_pair() -> None:
    logps = random_pairs()
    bins = difficulty_bins(logps)
    assert sum(b.pairs for b in bins) == len(logps)
    assert bins[0].low == -math.inf and bins[-1].high == math.inf


def test_log_probs_of_pairs_are_sums_over_live_steps() -> None:
    mask = torch.tensor([[True, True, False], [True, True, True]])
    steps = Steps(mask, {"policy": -torch.arange(1.0, 7).view(2, 3), "reference": -torch.ones(2, 3)})
    found = pair_logps(steps, Pairs(torch.tensor([1]), torch.tensor([0])))
    assert (found.winner.item(), found.loser.item()) == (-15.0, -3.0)
    assert (found.difficulty.item(), found.winner_length.item()) == (1.0, 3)


def test_a_policy_that_is_its_own_reference_has_not_changed() -> None:
    logps = random_pairs()
    found = rankings(replace(logps, winner=logps.of_winner, loser=logps.of_loser))
    assert not found.moved and (found.chosen, found.rejected) == (0.0, 0.0)
    assert not any("before training" in said or "turn" in said for said in found.sentences())


def test_the_report_is_plain_and_says_what_a_log_does_not() -> None:
    logps = random_pairs()
    found = rankings(logps)
    plain = found.to_dict()
    assert plain["difficulty"][0]["low"] is None and set(plain["gap"]["idealised"]) == {"0.01", "0.1", "1", "5", "10"}
    assert plain["sentences"][0].startswith("The preferred side is the likelier one in ")
    both = replace(logps, winner=logps.of_winner - 1, loser=logps.of_loser - 3)
    told = rankings(both).sentences()[1]
    assert "preferred by 1.00 and the other by 3.00 nats" in told
    with pytest.raises(GuerdonError, match="NaN"):
        rankings(PairLogps(*(torch.full((1,), math.nan),) * 4, torch.ones(1), torch.ones(1)))
    with pytest.raises(GuerdonError, match="at least one pair"):
        rankings(PairLogps(*(torch.zeros(0),) * 6))
