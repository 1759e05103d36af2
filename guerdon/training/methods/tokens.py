"""Methods that weigh or reward single tokens."""

from guerdon.data import first_differing_step
from guerdon.objectives import Objective, clipped, dpo, ld_dpo, tgdpo
from guerdon.training.dense import rto
from guerdon.training.methods.base import several
from guerdon.training.methods.preset import Preset


def surrogate(low: float = 0.2) -> Objective:
    """PPO's clipped surrogate."""
    return clipped(low)


def of_steps(beta: float = 0.5) -> Objective:
    """DPO with Step-DPO's β."""
    return dpo(beta)


PRESETS = (
    Preset(
        "tgdpo",
        "Zhu et al. 2025, arXiv 2506.14574",
        tgdpo,
        needs=("guide",),
        card=146,
        protects="equal blame for all tokens",
        checks=("tests/objectives/test_tokens.py::test_tgdpo_by_hand",),
    ),
    Preset(
        "ld-dpo",
        "Liu et al. 2024, arXiv 2409.06411",
        ld_dpo,
        card=165,
        protects="length that labels reward",
        checks=(
            "tests/objectives/test_tokens.py::test_ld_dpo_by_hand",
            "tests/objectives/test_trl_tokens.py::test_ld_dpo_is_trls",
        ),
    ),
    Preset(
        "rto",
        "Zhong et al. 2024, arXiv 2404.18922",
        surrogate,
        "prompts",
        estimator=rto,
        build=several,
        also={"per_start": 4},
        needs=("reward", "guide"),
        card=143,
        protects="sparse rewards of whole responses",
        checks=("tests/training/test_dense.py::test_without_a_guide_it_is_leave_one_out",),
    ),
    Preset(
        "step-dpo",
        "Lai et al. 2024, arXiv 2406.18629",
        of_steps,
        records=first_differing_step,
        protects="blame for steps that were right",
        checks=("tests/data/test_first_step.py::test_both_sides_start_after_what_they_share",),
    ),
)
