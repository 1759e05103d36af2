"""Methods that weigh or reward single tokens."""

from guerdon.objectives import Objective, clipped, ld_dpo, tgdpo
from guerdon.training.dense import rto
from guerdon.training.methods.base import several
from guerdon.training.methods.preset import Preset


def surrogate(low: float = 0.2) -> Objective:
    """PPO's clipped surrogate."""
    return clipped(low)


PRESETS = (
    Preset(
        "tgdpo",
        "Zhu et al. 2025, arXiv 2506.14574",
        tgdpo,
        needs=("guide",),
        protects="equal blame for all tokens",
        checks=("tests/objectives/test_tokens.py::test_tgdpo_by_hand",),
    ),
    Preset(
        "ld-dpo",
        "Liu et al. 2024, arXiv 2409.06411",
        ld_dpo,
        protects="length that labels reward",
        checks=("tests/objectives/test_tokens.py::test_ld_dpo_by_hand",),
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
        protects="sparse rewards of whole responses",
        checks=("tests/training/test_dense.py::test_without_a_guide_it_is_leave_one_out",),
    ),
)
