"""Links of the difference (cards 144, 169): hand values, neutral parameters, slopes, soft labels."""

from __future__ import annotations

import math

import pytest
import torch

from guerdon.batch import Batch, Pairs, Steps
from guerdon.errors import GuerdonError
from guerdon.objectives import (
    apo_zero,
    discopop,
    dpo,
    dpop,
    exo,
    exp_dpo,
    hinge_dpo,
    ipo_sum,
    log_ratio,
    logistic,
    nca,
    of_difference,
    pairwise,
    robust_dpo,
    slic,
    squared,
    squared_hinge_dpo,
)
from guerdon.training.methods import find
from tests.objectives.levels import of_pairs, slopes, t1, value

DPO_T1 = math.log1p(math.exp(-0.1))
FLIPPED_T1 = math.log1p(math.exp(0.1))


def test_links_by_hand():
    """h = 1, so z = β; the card's hinge at β = 0.05 is 0.95."""
    assert value(hinge_dpo(0.05), t1()) == pytest.approx(0.95, abs=1e-12)
    assert value(hinge_dpo(2.0), t1()) == 0.0
    assert value(hinge_dpo(2.0, margin=3.0), t1()) == pytest.approx(1.0, abs=1e-12)
    assert value(squared_hinge_dpo(0.1), t1()) == pytest.approx(0.81, abs=1e-12)
    assert value(squared_hinge_dpo(2.0), t1()) == 0.0
    assert value(exp_dpo(0.1), t1()) == pytest.approx(math.exp(-0.1), abs=1e-12)


def test_dpo_slopes_by_hand():
    """Card 169: −β σ(−βh) on the winner, and the opposite on the loser."""
    assert slopes(dpo(0.1), t1()) == pytest.approx([-0.047502, 0.047502], abs=1e-6)


def test_neutral_parameters_give_the_parent():
    """ε = 0 and λ = 0; and cDPO is the mixture of both directions."""
    batch = of_pairs([0.5, -0.3, 2.0], [-0.5, 1.4, 0.1])
    parent = value(dpo(0.1), batch)
    assert value(robust_dpo(0.1, flip=0.0), batch) == pytest.approx(parent, abs=1e-12)
    assert value(dpop(0.1, weight=0.0), batch) == pytest.approx(parent, abs=1e-12)
    cdpo = find("cdpo").objective
    assert value(cdpo(0.1, 0.0), batch) == pytest.approx(parent, abs=1e-12)
    assert value(cdpo(0.1, 0.2), t1()) == pytest.approx(0.8 * DPO_T1 + 0.2 * FLIPPED_T1, abs=1e-12)
    # The reference is the same on both sides here, so that a difference of ρ is one of log π.
    assert value(slic(weight=0.0), batch) == pytest.approx(value(hinge_dpo(1.0), batch), abs=1e-12)


def test_robust_dpo_by_hand():
    """[−0.9 log σ(0.1) + 0.1 log σ(−0.1)] / 0.8."""
    assert value(robust_dpo(0.1, 0.1), t1()) == pytest.approx((0.9 * DPO_T1 - 0.1 * FLIPPED_T1) / 0.8, abs=1e-12)


@pytest.mark.parametrize("flip", [0.05, 0.2, 0.45])
def test_over_flips_robust_dpo_is_clean_dpo(flip):
    """(1 − ε) L(w, l) + ε L(l, w) is DPO's loss of the clean label, for every margin."""
    won, lost = [0.5, -3.0, 40.0], [-0.5, 2.0, -9.0]
    noisy = (1 - flip) * value(robust_dpo(0.3, flip), of_pairs(won, lost))
    noisy += flip * value(robust_dpo(0.3, flip), of_pairs(lost, won))
    assert noisy == pytest.approx(value(dpo(0.3), of_pairs(won, lost)), abs=1e-12)


def test_exo_by_hand():
    """KL between (q, 1 − q) and (1 − ε, ε); 0 where they agree; a soft label moves the target."""
    q = 1 / (1 + math.exp(-0.1))
    hand = q * (math.log(q) - math.log(0.99)) + (1 - q) * (math.log(1 - q) - math.log(0.01))
    assert value(exo(0.1, 0.01), t1()) == pytest.approx(hand, abs=1e-12)
    aligned = math.log(0.8 / 0.2)
    assert value(exo(1.0, 0.2), of_pairs([aligned], [0.0])) == pytest.approx(0.0, abs=1e-12)
    soft = t1(preferred=torch.tensor([0.5]))
    assert value(exo(0.1, 0.01), soft) == pytest.approx(q * math.log(2 * q) + (1 - q) * math.log(2 - 2 * q), abs=1e-7)


def test_discopop_by_hand():
    """z = 0.05 and τ = 0.05: m = σ(1)."""
    m = 1 / (1 + math.exp(-1))
    hand = (1 - m) * math.log1p(math.exp(-0.05)) + m * math.exp(-0.05)
    assert value(discopop(), t1()) == pytest.approx(hand, abs=1e-12)


def test_discopop_rises_where_training_begins():
    """At z = 0 its slope is 0.25/τ·(1 − log 2) − ¾ a unit of z, positive for τ = 0.05: a
    non-convex stretch. Far on either side it falls."""
    at_zero = 0.25 / 0.05 * (1 - math.log(2)) - 0.75
    assert slopes(discopop(), of_pairs([0.0], [0.0]))[0] == pytest.approx(0.05 * at_zero, abs=1e-12)
    assert slopes(discopop(), of_pairs([-10.0], [0.0]))[0] < 0  # z = −0.5
    assert slopes(discopop(), of_pairs([10.0], [0.0]))[0] < 0


def test_discopop_survives_hopeless_pairs():
    """TRL multiplies 0 by exp(−z) = ∞ there."""
    batch = of_pairs([-1e5], [1e5])
    assert value(discopop(), batch) == pytest.approx(1e4, rel=1e-9)
    assert slopes(discopop(), batch) == pytest.approx([-0.05, 0.05], abs=1e-9)


def test_slic_by_hand():
    """log π of the toy pair are −1 and −2: a gap of 1 nat, and the regulariser −λ log π(y_w)."""
    assert value(slic(margin=1.0, weight=0.5), t1()) == pytest.approx(0.5, abs=1e-12)
    assert value(slic(margin=3.0, weight=0.2), t1()) == pytest.approx(2.0 + 0.2, abs=1e-12)
    assert slopes(slic(margin=3.0, weight=0.2), t1()) == pytest.approx([-1.2, 1.0], abs=1e-12)
    assert "steps.logp.reference" not in slic().needs


MONOTONE = [dpo(0.3), hinge_dpo(0.3), squared_hinge_dpo(0.3), exp_dpo(0.3), apo_zero(0.3), dpo(0.3) + slic()]


@pytest.mark.parametrize("objective", MONOTONE, ids=lambda o: o.terms[0].name)
def test_monotone_members_never_lower_the_winner(objective):
    for won in (-9.0, -1.0, 0.0, 2.0, 9.0):
        for lost in (-5.0, 0.0, 4.0):
            assert slopes(objective, of_pairs([won], [lost]))[0] <= 0


def test_ipo_and_nca_change_sign_at_their_target():
    """IPO at h = 1/(2τ); NCA where σ(βρ_w) = ⅔."""
    assert slopes(ipo_sum(0.1), of_pairs([4.9], [0.0]))[0] < 0 < slopes(ipo_sum(0.1), of_pairs([5.1], [0.0]))[0]
    turn = math.log(2) / 0.5
    assert slopes(nca(0.5), of_pairs([turn], [0.0]))[0] == pytest.approx(0.0, abs=1e-12)
    assert slopes(nca(0.5), of_pairs([turn - 0.1], [0.0]))[0] < 0 < slopes(nca(0.5), of_pairs([turn + 0.1], [0.0]))[0]


def test_gpo_square_has_ipos_minimiser_at_another_scale():
    """(z − 1)² with β = 2τ is 4τ² (h − 1/(2τ))²."""
    tau, batch = 0.1, of_pairs([0.7, -2.0], [-0.1, 1.0])
    gpo = pairwise(log_ratio(), of_difference(lambda z: (2 * tau * z - 1).square()))
    assert value(gpo, batch) == pytest.approx(4 * tau**2 * value(ipo_sum(tau), batch), abs=1e-12)
    assert value(pairwise(log_ratio(), squared(5.0)), batch) == pytest.approx(value(ipo_sum(tau), batch), abs=1e-12)


def test_soft_labels_mix_both_directions_and_margins_shift():
    """A tie pushes nobody; P = 0 is the flipped pair; a margin is subtracted from the difference."""
    tie = of_pairs([0.5], [0.5], preferred=torch.tensor([0.5]))
    for objective in (hinge_dpo(0.3), exp_dpo(0.3), squared_hinge_dpo(0.3), discopop(0.3), exo(0.3)):
        assert slopes(objective, tie) == pytest.approx([0.0, 0.0], abs=1e-7)
        never = of_pairs([0.5], [-0.7], preferred=torch.tensor([0.0]))
        assert value(objective, never) == pytest.approx(value(objective, of_pairs([-0.7], [0.5])), abs=1e-6)
        moved = of_pairs([0.5], [-0.7], margin=torch.tensor([0.25]))
        ahead = of_pairs([0.5 - 0.25 / 0.3], [-0.7])
        assert value(objective, moved) == pytest.approx(value(objective, ahead), abs=1e-6)
    assert value(pairwise(log_ratio(), of_difference(lambda z: torch.exp(-z))), of_pairs([500.0], [-500.0])) == 0.0


def test_a_link_of_ones_own_is_as_good():
    """The logistic as a link is ``logistic()``."""
    batch = of_pairs([0.7, -2.0], [-0.1, 1.0], preferred=torch.tensor([0.9, 0.4]), margin=torch.tensor([0.2, 0.0]))
    own = of_difference(lambda z: -torch.nn.functional.logsigmoid(z))
    plain = value(pairwise(log_ratio(), logistic()), batch)
    assert value(pairwise(log_ratio(), own), batch) == pytest.approx(plain, abs=1e-12)


def test_impossible_settings_are_named():
    for make in (
        lambda: robust_dpo(flip=0.5),
        lambda: robust_dpo(flip=-0.1),
        lambda: exo(epsilon=0.0),
        lambda: exo(epsilon=0.5),
    ):
        with pytest.raises(GuerdonError, match=r"but .* came"):
            make()
    with pytest.raises(GuerdonError, match="tau"):
        discopop(tau=1.0)


def converged(objective, labels: torch.Tensor) -> torch.Tensor:
    """Log-probabilities [4] of a softmax policy fitted to soft labels [6] of all pairs of four responses."""
    reference = torch.tensor([0.4, 0.3, 0.2, 0.1], dtype=torch.float64).log()
    logits = reference.clone().requires_grad_()
    first, second = torch.combinations(torch.arange(4)).unbind(-1)
    optimiser = torch.optim.LBFGS([logits], max_iter=300, tolerance_grad=1e-13, tolerance_change=1e-16)

    def step() -> torch.Tensor:
        optimiser.zero_grad()
        logp = logits.log_softmax(-1)
        steps = Steps(torch.ones(4, 1, dtype=torch.bool), {"policy": logp[:, None], "reference": reference[:, None]})
        loss = objective.loss(Batch(steps, pairs=Pairs(first, second, labels))).value
        loss.backward()
        return loss

    for _ in range(3):
        optimiser.step(step)
    return logits.detach().log_softmax(-1)


def test_a_converged_policy_is_the_tilted_reference():
    """Cards 169 and 144: exact Bradley–Terry labels give π_ref e^{r/β}/Z by DPO; labels flipped with probability ε give
    the same by rDPO, and a flatter policy by DPO."""
    reward, beta, flip = torch.tensor([0.0, 0.4, -0.3, 0.9], dtype=torch.float64), 0.5, 0.2
    reference = torch.tensor([0.4, 0.3, 0.2, 0.1], dtype=torch.float64).log()
    tilted = (reference + reward / beta).log_softmax(-1)
    first, second = torch.combinations(torch.arange(4)).unbind(-1)
    clean = (reward[first] - reward[second]).sigmoid()
    noisy = clean * (1 - flip) + (1 - clean) * flip
    torch.testing.assert_close(converged(dpo(beta), clean), tilted, atol=1e-6, rtol=0)
    torch.testing.assert_close(converged(robust_dpo(beta, flip), noisy), tilted, atol=1e-6, rtol=0)
    spread = [float((converged(dpo(beta), p) - reference).std()) for p in (clean, noisy)]
    assert spread[1] < 0.8 * spread[0]
