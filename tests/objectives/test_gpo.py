"""GPO (card 158): hand values of the regression on mean preference scores."""

import pytest
import torch

from guerdon.batch import Batch, Lists, Steps
from guerdon.objectives import gpo, sppo


def batch(ratios: list[float], lists: Lists) -> Batch:
    policy = torch.tensor(ratios)[:, None].requires_grad_()
    steps = Steps(torch.ones(len(ratios), 1, dtype=torch.bool), {"policy": policy, "reference": 0 * policy.detach()})
    return Batch(steps, lists=lists)


def test_two_rows_by_hand():
    two = batch([0.3, -0.1], Lists(torch.tensor([[0, 1]]), torch.tensor([[0.2, -0.2]])))
    # targets ±0.2/0.5 = ±0.4
    assert gpo(0.5).loss(two).value.item() == pytest.approx(0.1**2 + 0.3**2, abs=1e-7)
    (slope,) = torch.autograd.grad(gpo(0.5).loss(two).value, two.steps.logp["policy"])
    assert slope[:, 0].tolist() == pytest.approx([-0.2, 0.6], abs=1e-6)


def test_scalar_rewards_are_scores_against_the_list():
    """ŝ_i = (1/K) Σ_j (r_i − r_j) = r_i − mean r, whatever is added to all rewards."""
    for shift in (0.0, 7.0):
        value = torch.tensor([[1.0, 4.0, -2.0]]) + shift
        listed = batch([0.0, 0.0, 0.0], Lists(torch.tensor([[0, 1, 2]]), value))
        assert gpo(1.0, ends=False).loss(listed).value.item() == pytest.approx(0 + 9 + 9, abs=1e-5)
        assert gpo(1.0, ends=True).loss(listed).value.item() == pytest.approx(9 + 9, abs=1e-5)


def test_only_the_ends_of_ragged_lists():
    lists = Lists(torch.tensor([[0, 1, 2], [4, 3, -1]]), torch.tensor([[0.0, 1.0, -1.0], [0.5, -0.5, 99.0]]))
    listed = batch([5.0, 1.0, -1.0, -0.5, 0.5], lists)
    assert gpo(1.0).loss(listed).value.item() == pytest.approx(0.0, abs=1e-7)  # row 0 is in the middle
    assert gpo(1.0, ends=False).loss(listed).value.item() == pytest.approx(25.0 / 2, abs=1e-5)


def test_the_limit_cuts_scores_before_they_are_scaled():
    two = batch([0.5, -0.5], Lists(torch.tensor([[0, 1]]), torch.tensor([[3.0, -3.0]])))
    assert gpo(0.5, limit=1.0).loss(two).value.item() == pytest.approx(2 * 1.5**2, abs=1e-6)


def test_the_minimum_is_the_exponential_update():
    """With every response in the list, zero loss is π_{t+1} ∝ π_t e^{ŝ/β} up to its partition."""
    score = torch.tensor([0.4, -0.1, -0.3])
    whole = batch((score / 0.5).tolist(), Lists(torch.tensor([[0, 1, 2]]), score[None]))
    assert gpo(0.5, ends=False).loss(whole).value.item() < 1e-12


def test_win_rates_make_it_sppo():
    """ŝ = P̂ − ½ and β = 1/η: the same residuals, summed over a list where SPPO takes the mean over rows."""
    rate = torch.tensor([0.8, 0.2])
    two = batch([0.3, -0.1], Lists(torch.tensor([[0, 1]]), rate[None]))
    rows = Batch(two.steps, columns={"win_rate": rate})
    assert gpo(1 / 3).loss(two).value.item() == pytest.approx(2 * sppo(3.0).loss(rows).value.item(), abs=1e-6)


def test_the_default_is_the_paper_s_beta():
    two = batch([0.3, -0.1], Lists(torch.tensor([[0, 1]]), torch.tensor([[2e-4, -2e-4]])))
    assert gpo().loss(two).value.item() == pytest.approx(0.1**2 + 0.1**2, abs=1e-6)


def test_an_empty_list_has_no_weight():
    rows, value = torch.tensor([[-1, -1], [0, 1]]), torch.tensor([[9.0, 9.0], [0.2, -0.2]])
    both = batch([0.3, -0.1], Lists(rows, value))
    assert gpo(0.5).loss(both).value.item() == pytest.approx(0.1**2 + 0.3**2, abs=1e-7)
