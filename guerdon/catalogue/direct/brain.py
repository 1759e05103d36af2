"""BRAIn: a self-normalised baseline takes the variance out of distribution matching (card 154)."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from guerdon.batch import Seed
from guerdon.catalogue.method import Method
from guerdon.lab.protocol import Claim, Experiment
from guerdon.objectives import matching_weights

POSTERIOR, POLICY, SAMPLES = 0.0, 1.0, 8
PROPOSALS = (0.0, 0.25, 0.5, 0.75, 1.0)
FORMS = {"brain": "self_normalised", "gdc++": "baseline", "dpg": "plain"}


def gradients(form: str, proposal: float, repeats: int, seed: Seed) -> Tensor:
    """[repeats]: estimates, from 8 draws of N(μ, 1), of the gradient in the policy's mean of −KL(N(0,1)‖N(1,1))."""
    y = proposal + torch.randn(repeats, SAMPLES, generator=seed.child("draws", str(proposal)).torch())

    def against_proposal(mean: float) -> Tensor:
        return 0.5 * ((y - proposal).square() - (y - mean).square())

    weights = matching_weights(
        against_proposal(POSTERIOR), against_proposal(POLICY), torch.ones_like(y, dtype=torch.bool), form
    )
    return (weights * (y - POLICY)).sum(-1)


def measured(form: str, repeats: int, seed: Seed) -> dict[str, float]:
    """Means over the proposals of log10 of the variance, alone and over the squared mean, and of the mean itself."""
    found = [gradients(form, mu, repeats, seed) for mu in PROPOSALS]
    spread = [float(g.var()) for g in found]
    mean = [float(g.mean()) for g in found]
    n = len(PROPOSALS)
    return {
        "log10_variance": sum(map(math.log10, spread)) / n,
        "log10_relative_variance": sum(math.log10(v / m**2) for v, m in zip(spread, mean, strict=True)) / n,
        "mean": sum(mean) / n,
    }


def run_one(arm: str, config: Mapping[str, Any], seed: int, smoke: bool) -> Mapping[str, float]:
    """One seed of one arm; the baseline's runs hold DPG's numbers too, as 'dpg_…'."""
    key, repeats = Seed(seed).child("brain"), 200 if smoke else 2000
    found = measured(FORMS[arm], repeats, key)
    if arm == "gdc++":
        found |= {f"dpg_{k}": v for k, v in measured(FORMS["dpg"], repeats, key).items()}
    return found


METHOD = Method(
    slug="brain",
    card=154,
    title="BRAIn: Bayesian Reward-conditioned Amortized Inference for natural language generation from feedback",
    paper="Pandey et al. 2024, arXiv 2402.02479",
    family="direct",
    essence=(
        "The target is the SFT model given that its output is good; it is distilled by importance weights that are "
        "normalised over the samples, minus the policy's own such weights as a baseline."
    ),
    composition="brain(gamma)",
    experiment=Experiment(
        slug="brain",
        claim=Claim(
            kind="effect",
            metric="log10_relative_variance",
            direction="lower",
            baseline="gdc++",
            smallest_effect=0.2,
            statement=(
                "The variance of the gradient over its squared mean is lower than GDC++'s by 0.2 in log10, a factor of "
                "0.63 (mean over proposals between the posterior and the policy)"
            ),
        ),
        run=f"{__name__}:run_one",
        method="brain",
        reporting_seeds=tuple(range(10, 26)),
        sources=("guerdon.objectives.brain",),
        budget="2,000 estimates of 8 samples at 5 proposals an arm",
    ),
    caveat=(
        "The Gaussian toy of the paper's code: unit variances, means 0 and 1. The paper compares plain variances "
        "(log10_variance); self-normalised weights shrink the gradient too, so it is compared relative to its mean. "
        "DPG (dpg_…) has a lower variance than GDC++ here. No language is involved."
    ),
    checks=(
        "tests/objectives/test_brain.py::test_two_samples_by_hand",
        "tests/objectives/test_brain.py::test_the_gradient_is_the_published_formula",
        "tests/objectives/test_brain.py::test_nothing_moves_at_the_posterior",
        "tests/objectives/test_brain.py::test_a_shift_of_rewards_or_of_any_log_prob_changes_nothing",
        "tests/objectives/test_brain.py::test_two_rows_with_one_hot_weights_are_dpo_with_beta_one",
        "tests/training/test_prompt_lists.py::test_brain_reaches_the_posterior",
    ),
)
