"""Self-play on preferences: the policy's samples are compared with each other, and its last iterate is the reference.

P(y ≻ y′) is σ of the reward's difference; ``training.Judge`` takes another judge in a recipe of one's own.
"""

from collections.abc import Callable

from guerdon.objectives import Objective, dno, dpo, reinforce, sft, sppo, sppo_hard
from guerdon.training.builds import best_worst
from guerdon.training.companions import Companion
from guerdon.training.duels import by_score
from guerdon.training.methods.preset import Preset, iterated, stretch
from guerdon.training.recipe import Build, Estimator
from guerdon.training.selfplay import Acceleration, against_peers, all_pairs, best_worst_duels, margin_pairs


def sppo_soft(eta: float = 1000.0) -> Objective:
    """SPPO on win rates, η = 1/β."""
    return sppo(eta)


def best_against_worst(temperature: float = 1.0) -> Build:
    """SPPO's pairs and win rates, P = σ(Δ score / temperature)."""
    return best_worst_duels(by_score(temperature=temperature))


def soft_pairs(temperature: float = 1.0) -> Build:
    """All pairs, labelled by σ of the difference of win rates."""
    return all_pairs(by_score(temperature=temperature))


def far_apart(least: float = 2.0, floor: float = 5.0) -> Build:
    """DNO-Prct's filter, in points of the reward."""
    return margin_pairs(least, floor)


def best_pair(least: float = 0.0) -> Build:
    """The better against the worse of a prompt's rows."""
    return best_worst(least=least)


def dno_hard(beta: float = 0.1, alpha: float = 0.005) -> Objective:
    """Iterative DPO with α times SFT on the winners (α is read as that weight: the paper names it without its term)."""
    return dno(beta) + alpha * sft("winner") if alpha else dno(beta)


def dno_soft(beta: float = 0.1) -> Objective:
    """DNO's regression with η = ``beta``."""
    return dno(beta)


def win_rates(kl: float = 0.0, temperature: float = 1.0) -> Estimator:
    """SPO's reward, with a KL to the reference where asked."""
    return against_peers(by_score(temperature=temperature), kl)


def against_mixture(kl: float = 0.008, mixture: float = 0.125, temperature: float = 1.0) -> Estimator:
    """Nash-MD: opponents from the geometric mixture of policy and reference; a light mixture and a weak pull."""
    return against_peers(by_score(temperature=temperature), kl, mixture)


def growing_dpo(
    beta: float = 0.01, growth: float = 10.0, iterations: int = 3, updates: int = 1
) -> Callable[[int], Objective]:
    """DPO whose β is ``growth`` times as large in every next iteration (APO's 0.01, 0.1, 1)."""
    every = stretch(iterations, updates)
    return lambda step: dpo(beta * growth ** min(step // every, iterations - 1))


def accelerated(alpha: float = 0.3, iterations: int = 3, updates: int = 1) -> tuple[Companion, ...]:
    """APO's extrapolation between iterations."""
    return (Acceleration(alpha, stretch(iterations, updates)),)


TESTS = "tests/training/test_selfplay.py::"

PRESETS = (
    Preset(
        "sppo",
        "Wu et al. 2024, arXiv 2405.00675",
        sppo_soft,
        "prompts",
        rules=iterated,
        build=best_against_worst,
        sampler="reference",
        also={"per_start": 5},
        needs=("reward",),
        card=170,
        protects="cyclic preferences; falling chosen likelihood",
        checks=("tests/objectives/test_selfplay.py::test_sppo_by_hand",),
    ),
    Preset(
        "sppo-hard",
        "Wu et al. 2024, arXiv 2405.00675",
        sppo_hard,
        "prompts",
        rules=iterated,
        build=best_against_worst,
        sampler="reference",
        also={"per_start": 5},
        needs=("reward",),
        protects="falling chosen likelihood; uncalibrated judges",
        checks=("tests/objectives/test_selfplay.py::test_sppo_hard_by_hand",),
    ),
    Preset(
        "dno",
        "Rosset et al. 2024, arXiv 2404.03715",
        dno_soft,
        "prompts",
        rules=iterated,
        build=soft_pairs,
        sampler="reference",
        also={"per_start": 5},
        needs=("reward",),
        card=75,
        protects="cyclic preferences; overconfident hard labels",
        checks=("tests/objectives/test_selfplay.py::test_dno_by_hand",),
    ),
    Preset(
        "dno-prct",
        "Rosset et al. 2024, arXiv 2404.03715",
        dno_hard,
        "prompts",
        rules=iterated,
        build=far_apart,
        sampler="reference",
        also={"per_start": 5},
        needs=("reward",),
        protects="pairs too close to judge",
        checks=(TESTS + "test_margin_pairs",),
    ),
    Preset(
        "spo",
        "Swamy et al. 2024, arXiv 2401.04056",
        reinforce,
        "prompts",
        estimator=win_rates,
        also={"per_start": 4},
        needs=("reward",),
        card=184,
        protects="cyclic and noisy preferences",
        checks=(TESTS + "test_win_rates_sum_to_half_the_group",),
    ),
    Preset(
        "nash-md",
        "Munos et al. 2023, arXiv 2312.00886",
        reinforce,
        "prompts",
        estimator=against_mixture,
        also={"per_start": 4},
        needs=("reward",),
        protects="cycling of the last iterate",
        checks=(TESTS + "test_nash_md_opponents_become_the_geometric_mixture",),
    ),
    Preset(
        "online-dpo",
        "Guo et al. 2024, arXiv 2402.04792",
        dpo,
        "prompts",
        build=best_pair,
        also={"per_start": 2},
        needs=("reward",),
        protects="pairs the policy has left",
        checks=("tests/objectives/test_trl_selfplay.py::test_online_dpo",),
    ),
    Preset(
        "apo-accelerated",
        "He et al. 2024, arXiv 2410.06293",
        growing_dpo,
        "prompts",
        rules=iterated,
        build=best_against_worst,
        companions=accelerated,
        sampler="reference",
        also={"per_start": 5},
        needs=("reward",),
        card=150,
        protects="slow iterations, at sampling's risk",
        checks=(TESTS + "test_acceleration_follows_theorem_4_1",),
    ),
)
