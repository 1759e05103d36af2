"""Unpacking DPO and PPO: how much data, algorithm and reward model matter, each by itself (card 162)."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from guerdon.batch import Seed
from guerdon.catalogue.method import REPORTING, Method
from guerdon.lab import finite as lab
from guerdon.lab.factorial import factorial
from guerdon.lab.finite_online import ppo, reads_first
from guerdon.lab.frontier import frontier_metrics
from guerdon.lab.protocol import Claim, Experiment
from guerdon.objectives import dpo
from guerdon.training.run import run

FACTORS = {"data": (0.25, 0.0), "algorithm": ("dpo", "ppo"), "reward model": (7, 8)}
"""Share of flipped labels; who learns from the pairs; how many of the eight features the reward model reads."""
KL_LIMIT = 3.0
BETAS = (0.1, 0.3, 1.0)


def area(cell: Mapping[str, Any], seed: int, smoke: bool) -> float:
    """Gold against KL of one combination over its coefficient β of the KL; both algorithms learn from the same pairs
    and on the same prompts."""
    key = Seed(seed).child("catalogue")
    bed = lab.finite(key, prompts=4, responses=16) if smoke else lab.finite(key)
    compared = lab.compare(bed, 32 if smoke else 256, key, flip=cell["data"])
    rounds, found = 2 if smoke else 30, []
    for beta in BETAS:
        if cell["algorithm"] == "dpo":
            recipe = lab.offline(bed, compared, dpo(beta), rounds=rounds)
        else:
            reward = lab.fit_reward(reads_first(bed, cell["reward model"]), compared)
            recipe = ppo(bed, reward, beta, key, rounds)
        run(recipe)
        at = lab.evaluate(bed, recipe.snapshots)
        found.append((max(0.0, at["kl"]), at["gold"]))
    return frontier_metrics(found, bed.start, KL_LIMIT)["area"]


@lru_cache(maxsize=4)
def effects(seed: int, smoke: bool) -> Mapping[str, float]:
    """Main effects of all factors; both arms read one design. DPO has no reward model: its cells are run once."""
    run_before: dict[tuple[Any, ...], float] = {}

    def once(cell: Mapping[str, Any]) -> float:
        own = (cell["data"], cell["algorithm"], cell["algorithm"] == "ppo" and cell["reward model"])
        if own not in run_before:
            run_before[own] = area(cell, seed, smoke)
        return run_before[own]

    found = factorial(FACTORS, once)
    signed = {
        f"{name}: {b} over {a}": found.effects[name][b] - found.effects[name][a] for name, (a, b) in FACTORS.items()
    }
    return {**{name: found.size(name) for name in FACTORS}, **signed, "mean": found.mean, "residual": found.residual}


def run_one(arm: str, config: Mapping[str, Any], seed: int, smoke: bool) -> Mapping[str, float]:
    """One seed: the absolute main effect of the factor that the arm names as 'size', and all effects beside it."""
    found = effects(seed, smoke)
    return {"size": found[arm], **found}


METHOD = Method(
    slug="unpacking",
    card=162,
    title="Unpacking DPO and PPO: Disentangling Best Practices for Learning from Preference Feedback",
    paper="Ivison et al. 2024, arXiv 2406.09279",
    family="direct",
    essence=(
        "Of preference data, algorithm, reward model and prompts, varied one at a time, the data matter most, then PPO "
        "over DPO, then the reward model."
    ),
    composition="factorial(factors, run); unpacked_ppo(world, snapshots, prompts, reward, value, rounds=...)",
    experiment=Experiment(
        slug="unpacking",
        claim=Claim(
            kind="effect",
            metric="size",
            baseline="algorithm",
            smallest_effect=0.05,
            statement=(
                "A quarter of flipped labels changes gold at equal KL by more than the choice between DPO and PPO does "
                "(absolute main effects of a 2 × 2 × 2 design, mean gold over KL up to 3 nats)"
            ),
        ),
        run=f"{__name__}:run_one",
        method="data",
        reporting_seeds=REPORTING,
        sources=(
            "guerdon.training.unpacked",
            "guerdon.training.estimators",
            "guerdon.objectives.pairwise",
            "guerdon.objectives.policy",
            "guerdon.objectives.value",
            "guerdon.objectives.terms",
            "guerdon.lab.factorial",
            "guerdon.lab.finite",
            "guerdon.lab.finite_online",
            "guerdon.lab.frontier",
        ),
        budget="256 pairs, 30 rounds, 3 values of β a cell; PPO draws 16 responses of 16 prompts a round",
    ),
    caveat=(
        "Enumerated responses and policies that are linear in features. The paper's fourth factor, prompts for the "
        "policy, is held fixed, and the reward model's effect is halved, since DPO reads none. Every response ends, so "
        "that the penalty for missing ends is shown by tests alone."
    ),
    checks=(
        "tests/training/test_unpacked.py::test_the_penalty_stands_exactly_where_the_end_is_missing",
        "tests/training/test_unpacked.py::test_without_kl_only_the_score_is_left_and_with_it_a_cost_a_token",
        "tests/training/test_unpacked.py::test_gae_at_one_without_values_is_the_return",
        "tests/lab/test_factorial.py::test_additive_effects_come_back",
    ),
)
