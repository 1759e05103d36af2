"""Methods against likelihood displacement and over-optimisation, and those that explore: a term or a factor on DPO."""

from collections.abc import Callable

from guerdon.objectives import Objective, dpo_shift, flex_dpo, rpo, selm, sft_dpo, vpo, xpo
from guerdon.training.builds import best_worst
from guerdon.training.methods.preset import Preset, iterated
from guerdon.training.recipe import Build


def pessimistic(beta: float = 0.1, alpha: float = 0.1) -> Objective:
    """VPO on recorded pairs, calibrated on their winners."""
    return vpo(beta, alpha, -1.0)


def optimistic(beta: float = 0.1, alpha: float = 0.1, decay: bool = True) -> Callable[[int], Objective]:
    """VPO on samples, calibrated on the reference's; with ``decay`` α falls as 1/(1 + updates done)."""
    return lambda step: vpo(beta, alpha / (1 + step) if decay else alpha, 1.0, "reference")


def rpo_average(beta: float = 0.5, eta: float = 0.2) -> Objective:
    """RPO with the token mean of log π(y_w) and no factor β."""
    return rpo(beta, eta, "average", False)


def rpo_cumulative(beta: float = 0.01, eta: float = 0.005) -> Objective:
    """RPO with the token sum of log π(y_w) and the factor β."""
    return rpo(beta, eta)


def self_exploring(beta: float = 0.01, alpha: float = 0.001) -> Objective:
    """SELM's bonus on the reference's draws."""
    return selm(beta, alpha)


def exploring(beta: float = 0.1, alpha: float = 1e-5) -> Objective:
    """XPO's bonus on the reference's draws."""
    return xpo(beta, alpha)


def shifted_linearly(
    beta: float = 0.01, first: float = 0.95, last: float = 1.0, updates: int = 1
) -> Callable[[int], Objective]:
    """DPO-Shift whose f goes evenly from ``first`` to ``last`` over the run: increasing or decreasing."""
    return lambda step: dpo_shift(beta, first + (last - first) * min(1.0, step / max(1, updates)))


def among_all() -> Build:
    """The best against the worst of all rows of a prompt, whoever drew them."""
    return best_worst(keep="reference")


def among_own() -> Build:
    """The best against the worst of the policy's rows; the reference's are there for the bonus alone."""
    return best_worst(keep="reference", compare_kept=False)


OPTIMISM = "tests/objectives/test_optimism.py"
SHIFT = "tests/objectives/test_shift.py"

PRESETS = (
    Preset(
        "vpo",
        "Cen et al. 2024, arXiv 2405.19320",
        pessimistic,
        card=147,
        protects="over-optimisation of thin data",
        checks=(f"{OPTIMISM}::test_vpo_by_hand",),
    ),
    Preset(
        "vpo-online",
        "Cen et al. 2024, arXiv 2405.19320",
        optimistic,
        "prompts",
        build=among_own,
        also={"per_start": 2, "beside": {"reference": 1}},
        needs=("reward",),
        card=147,
        protects="never trying what the reference avoids",
        checks=(f"{OPTIMISM}::test_vpo_by_hand",),
    ),
    Preset(
        "rpo",
        "Liu et al. 2024, arXiv 2405.16436",
        rpo_cumulative,
        card=157,
        protects="falling likelihood of chosen responses",
        checks=(f"{OPTIMISM}::test_rpo_by_hand",),
    ),
    Preset(
        "rpo-average",
        "Liu et al. 2024, arXiv 2405.16436",
        rpo_average,
        card=157,
        protects="falling likelihood, whatever the length",
        checks=(f"{OPTIMISM}::test_rpo_by_hand",),
    ),
    Preset(
        "selm",
        "Zhang et al. 2024, arXiv 2405.19332",
        self_exploring,
        "prompts",
        rules=iterated,
        build=among_all,
        also={"per_start": 2, "beside": {"reference": 1}},
        needs=("reward",),
        card=186,
        protects="never trying what the reference avoids",
        checks=(f"{OPTIMISM}::test_selm_by_hand",),
    ),
    Preset(
        "xpo",
        "Xie et al. 2024, arXiv 2405.21046",
        exploring,
        "prompts",
        build=among_all,
        also={"per_start": 1, "beside": {"reference": 1}},
        needs=("reward",),
        protects="never trying what the reference avoids",
        checks=(f"{OPTIMISM}::test_xpo_by_hand",),
    ),
    Preset(
        "dpo-shift",
        "Yang et al. 2025, arXiv 2502.07599",
        dpo_shift,
        card=98,
        protects="falling likelihood of chosen responses",
        checks=(f"{SHIFT}::test_dpo_shift_by_hand",),
    ),
    Preset(
        "dpo-shift-linear",
        "Yang et al. 2025, arXiv 2502.07599",
        shifted_linearly,
        card=98,
        protects="falling likelihood of chosen responses",
        checks=(f"{SHIFT}::test_the_linear_schedule_ends_where_it_should",),
    ),
    Preset(
        "flex-dpo",
        "Yan et al. 2024, arXiv 2406.07327",
        flex_dpo,
        card=168,
        protects="mass lost to unseen responses",
        checks=(f"{SHIFT}::test_flex_dpo_by_hand",),
    ),
    Preset(
        "sft-dpo",
        "Yan et al. 2024, arXiv 2406.07327",
        sft_dpo,
        card=168,
        protects="mass lost to unseen responses",
        checks=(f"{OPTIMISM}::test_sft_dpo_keeps_pushing_the_chosen_response",),
    ),
)
