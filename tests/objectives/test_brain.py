"""BRAIn (card 154): hand values, gradients, limits and relatives."""

import math

import pytest
import torch

from guerdon.batch import Batch, Lists, Steps
from guerdon.errors import GuerdonError
from guerdon.objectives import brain, effective_samples, matching_weights

K = 6


def batch(policy, prior, behaviour, reward, rows=None) -> Batch:
    """One list of rows with these log-probs and rewards."""
    tables = {"policy": policy, "reference": prior, "sampler": behaviour}
    logp = {k: torch.as_tensor(v, dtype=torch.float64)[:, None].clone() for k, v in tables.items()}
    logp["policy"].requires_grad_()
    n = len(policy)
    number = torch.arange(n)[None] if rows is None else rows
    value = torch.as_tensor(reward, dtype=torch.float64)[None]
    return Batch(Steps(torch.ones(n, 1, dtype=torch.bool), logp), lists=Lists(number, value))


def random(seed: int = 0) -> list[torch.Tensor]:
    g = torch.Generator().manual_seed(seed)
    return [torch.randn(K, generator=g, dtype=torch.float64) for _ in range(4)]


def slope(objective, whole: Batch) -> torch.Tensor:
    (found,) = torch.autograd.grad(objective.loss(whole).value, whole.steps.logp["policy"])
    return found[:, 0]


def test_two_samples_by_hand():
    """q' = p = q_θ, rewards (1, 0): weights ±(σ(1) − ½) = ±0.231059."""
    whole = batch([-1.0, -2.0], [-1.0, -2.0], [-1.0, -2.0], [1.0, 0.0])
    assert (-slope(brain(), whole)).tolist() == pytest.approx([0.231059, -0.231059], abs=1e-6)
    assert brain().loss(whole).value.item() == pytest.approx(math.log(2), abs=1e-12)


@pytest.mark.parametrize("gamma", [0.5, 1.0, 3.0])
def test_the_gradient_is_the_published_formula(gamma):
    policy, prior, behaviour, reward = random()
    target = (prior - behaviour + reward / gamma)[None]
    weights = matching_weights(target, (policy - behaviour)[None], torch.ones(1, K, dtype=torch.bool))[0]
    alpha = torch.exp(target[0]) / torch.exp(target[0]).sum()
    beta = torch.exp(policy - behaviour) / torch.exp(policy - behaviour).sum()
    torch.testing.assert_close(weights, alpha - beta)
    assert weights.sum().abs().item() < 1e-12
    torch.testing.assert_close(-slope(brain(gamma), batch(policy, prior, behaviour, reward)), weights)


def test_nothing_moves_at_the_posterior():
    _, prior, behaviour, reward = random(1)
    whole = batch(prior + reward / 2 + 0.3, prior, behaviour, reward)
    assert slope(brain(2.0), whole).abs().max().item() < 1e-12


def test_a_shift_of_rewards_or_of_any_log_prob_changes_nothing():
    tables = random(2)
    first = brain().loss(batch(*tables)).value.item()
    for i in range(4):
        moved = [t + (5.0 if i == j else 0.0) for j, t in enumerate(tables)]
        assert brain().loss(batch(*moved)).value.item() == pytest.approx(first, abs=1e-12)


def test_two_rows_with_one_hot_weights_are_dpo_with_beta_one():
    whole = batch([-1.0, -2.0], [-1.5, -1.5], [-1.5, -1.5], [1.0, 0.0])
    dpo = -math.log(1 / (1 + math.exp(-1.0)))
    for behaviour in ("sampler", "reference"):
        assert brain(1e-3, behaviour=behaviour).loss(whole).value.item() == pytest.approx(dpo, abs=1e-12)


def test_the_loss_is_a_kl_up_to_the_entropy_of_its_target():
    policy, prior, behaviour, reward = random(3)
    alpha = (prior - behaviour + reward).softmax(-1)
    beta = (policy - behaviour).log_softmax(-1)
    kl = (alpha * (alpha.log() - beta)).sum()
    entropy = -(alpha * alpha.log()).sum()
    found = brain().loss(batch(policy, prior, behaviour, reward)).value
    assert found.item() == pytest.approx((kl + entropy).item(), abs=1e-12)


def test_ragged_lists_and_extreme_weights():
    number = torch.tensor([[0, 1, -1], [2, -1, -1]])
    steps = {k: torch.zeros(3, 1) for k in ("policy", "reference", "sampler")}
    steps["policy"] = torch.tensor([[-1e4], [0.0], [0.0]], requires_grad=True)
    value = torch.tensor([[1e4, 0.0, 9.0], [1.0, 9.0, 9.0]])
    whole = Batch(Steps(torch.ones(3, 1, dtype=torch.bool), steps), lists=Lists(number, value))
    assert float(brain().denominators([whole])["brain"]) == 1.0  # a row alone says nothing
    assert slope(brain(), whole).tolist() == [-1.0, 1.0, 0.0]
    assert brain().loss(whole).value.item() == 1e4


def test_a_shorter_list_among_longer_ones_is_the_list_alone():
    policy, prior, behaviour, reward = (x[:3] for x in random(4))
    alone = batch(policy, prior, behaviour, reward)
    rows, value = torch.tensor([[0, 1, 2, -1, -1]]), torch.cat([reward, torch.tensor([7.0, -7.0])])
    padded = batch(policy, prior, behaviour, value, rows)
    one, other = brain().loss(alone), brain().loss(padded)
    assert other.value.item() == pytest.approx(one.value.item(), abs=1e-12)
    torch.testing.assert_close(slope(brain(), padded), slope(brain(), alone))
    for name, (total, count) in one.metrics.items():
        assert (other.metrics[name][0] / other.metrics[name][1]).item() == pytest.approx(
            (total / count).item(), abs=1e-9
        )


def test_only_the_policy_is_trained():
    whole = batch(*random(5))
    whole.steps.logp["reference"].requires_grad_()
    whole.steps.logp["sampler"].requires_grad_()
    found = torch.autograd.grad(
        brain().loss(whole).value, [whole.steps.logp["reference"], whole.steps.logp["sampler"]], allow_unused=True
    )
    assert found == (None, None)


def test_effective_samples_by_hand():
    mask = torch.tensor([[True, True, True, False], [True, True, False, False], [False] * 4])
    weight = torch.tensor([[0.0, 0.0, 0.0, 99.0], [50.0, -50.0, 0.0, 0.0], [0.0] * 4])
    assert effective_samples(weight, mask).tolist() == pytest.approx([3.0, 1.0, 0.0], abs=1e-6)
    whole = batch([0.0, 0.0], [0.0, 0.0], [0.0, 0.0], [math.log(3), 0.0])
    found = {k: (a / b).item() for k, (a, b) in brain().loss(whole).metrics.items()}
    assert found["brain/effective_samples"] == pytest.approx(1 / (0.75**2 + 0.25**2), abs=1e-6)
    assert found["brain/policy_effective_samples"] == pytest.approx(2.0, abs=1e-6)
    assert found["brain/reward"] == pytest.approx(math.log(3) / 2, abs=1e-6)


def test_the_relatives_by_hand():
    mask = torch.tensor([[True, True, False]])
    target, policy = torch.tensor([[2.0, 0.5, 7.0]]).log(), torch.tensor([[1.0, 1.0, 7.0]]).log()
    assert matching_weights(target, policy, mask, "plain").tolist()[0] == pytest.approx([1.0, 0.25, 0.0], abs=1e-6)
    assert matching_weights(target, policy, mask, "baseline").tolist()[0] == pytest.approx([0.5, -0.25, 0.0], abs=1e-6)
    assert matching_weights(target, policy, mask).tolist()[0] == pytest.approx([0.3, -0.3, 0.0], abs=1e-6)
    nobody, single = torch.zeros(1, 3, dtype=torch.bool), torch.tensor([[False, True, False]])
    for form in ("self_normalised", "baseline", "plain"):
        assert matching_weights(target, policy, nobody, form).tolist() == [[0.0, 0.0, 0.0]]
    assert matching_weights(target, policy, single, "plain").tolist()[0] == pytest.approx([0.0, 0.5, 0.0], abs=1e-6)
    with pytest.raises(GuerdonError, match="self_normalised"):
        matching_weights(target, policy, mask, "other")


def test_gamma_must_divide():
    with pytest.raises(GuerdonError, match="above 0"):
        brain(0.0)
