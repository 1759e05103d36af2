"""β-DPO (card 144): a β of the whole batch, against a running mean."""

import math

import pytest
import torch

from guerdon.batch import Batch, Pairs, Seed, Steps
from guerdon.errors import GuerdonError
from guerdon.lab import finite as lab
from guerdon.objectives import beta_dpo, dpo
from guerdon.objectives.dynamic import GAP
from guerdon.training import run
from guerdon.training.running import RunningMean


def batch(gaps: list[float], before: float = 0.0, weight: list[float] | None = None) -> Batch:
    """One pair a gap h, with the mean before this batch on every step."""
    n = len(gaps)
    policy = torch.cat([torch.tensor(gaps) - 2.0, torch.full((n,), -2.0)])[:, None].requires_grad_()
    logp = {"policy": policy, "reference": torch.full((2 * n, 1), -2.0)}
    stats = {"running:gap": torch.full((2 * n, 1), before)}
    pairs = Pairs(torch.arange(n), torch.arange(n, 2 * n), weight=None if weight is None else torch.tensor(weight))
    return Batch(Steps(torch.ones(2 * n, 1, dtype=torch.bool), logp, stats), pairs=pairs)


def of_beta(beta: float, gaps: list[float]) -> float:
    return sum(math.log1p(math.exp(-beta * h)) for h in gaps) / len(gaps)


def test_beta_by_hand() -> None:
    """β₀ = .1, h = 1 and 3: M = .2; M₀ = .9·.05 + .1·.2 = .065, so β = .1·(1 + .6·.135) = .1081."""
    found = beta_dpo().loss(batch([1.0, 3.0], before=0.05))
    assert found.value.item() == pytest.approx(of_beta(0.1081, [1.0, 3.0]), abs=1e-6)
    total, count = found.metrics["beta_dpo/beta"]
    assert (total / count).item() == pytest.approx(0.1081, abs=1e-6)
    total, count = found.metrics[GAP]
    assert (total / count).item() == pytest.approx(0.2, abs=1e-6)


def test_what_is_logged_is_in_units_of_the_first_beta() -> None:
    """h = 1, 3 and a tie of ρ = 0.5 on both sides: β₀ρ and how often the preferred side is ahead."""
    here = batch([1.0, 3.0, 0.0])
    here.steps.logp["policy"].data[[2, 5]] += 0.5
    found = {k.removeprefix("beta_dpo/"): float(a / b) for k, (a, b) in beta_dpo().loss(here).metrics.items()}
    expected = {"chosen": 0.15, "rejected": 0.05 / 3, "margin": 0.4 / 3, "accuracy": 2.5 / 3, "gap": 0.4 / 3}
    assert {k: found[k] for k in expected} == pytest.approx(expected, abs=1e-6)


def test_beta_is_of_the_whole_batch() -> None:
    """Every micro-batch uses the β of all pairs, weights included; its shares add up."""
    whole = batch([1.0, 3.0, -2.0, 0.5], 0.05, [1.0, 2.0, 1.0, 0.0])
    parts = whole.split(4)
    objective = beta_dpo()
    stats, denominators = objective.couple(parts), objective.denominators(parts)
    shares = sum(objective.loss(p, denominators, stats).value.item() for p in parts)
    assert len(parts) == 4 and shares == pytest.approx(objective.loss(whole).value.item(), abs=1e-7)


def test_beta_has_no_gradient_and_a_floor() -> None:
    here = batch([1.0], 0.0)
    (slope,) = torch.autograd.grad(beta_dpo().loss(here).value, here.steps.logp["policy"])
    beta = 0.1 * (1 + 0.6 * 0.9 * 0.1)
    push = beta / (1 + math.exp(beta))
    assert slope[:, 0].tolist() == pytest.approx([-push, push], abs=1e-7)
    hopeless = batch([-1000.0])
    assert beta_dpo(least=1e-3).loss(hopeless).value.item() == pytest.approx(of_beta(1e-3, [-1000.0]), abs=1e-6)


def test_without_its_options_it_is_dpo() -> None:
    here = batch([1.0, 3.0], 0.7)
    assert beta_dpo(alpha=0.0).loss(here).value.item() == pytest.approx(dpo(0.1).loss(here).value.item(), abs=1e-7)
    with pytest.raises(GuerdonError, match="momentum"):
        beta_dpo(momentum=1.0)


def test_the_running_mean_is_kept_over_rounds() -> None:
    """M₀ of every round is what the rounds before gave, and it survives a checkpoint."""
    bed = lab.finite(Seed(0), 4, 8)
    recipe = lab.offline(bed, lab.compare(bed, 32, Seed(0)), beta_dpo(alpha=5.0), rounds=4)
    mean = RunningMean(GAP, 0.9)
    history = run(recipe.with_(companions=(mean,))).history
    expected = 0.0
    for told in history:
        beta = 0.1 * (1 + 5.0 * 0.9 * (told[GAP] - expected))
        assert told["beta_dpo/beta"] == pytest.approx(beta, abs=1e-6)
        expected = 0.9 * expected + 0.1 * told[GAP]
        assert told["running:gap"] == pytest.approx(expected, abs=1e-7)
    assert history[-1][GAP] > 0
    other = RunningMean(GAP)
    other.load_state_dict(mean.state_dict())
    assert other.mean == mean.mean
