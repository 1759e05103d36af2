"""What studies of direct alignment brought beside their measurements."""

from guerdon.objectives import dpo_gamma
from guerdon.training.methods.preset import Preset

PRESETS = (
    Preset(
        "dpo-gamma",
        "Chen et al. 2024, arXiv 2405.19534",
        dpo_gamma,
        card=178,
        protects="pairs the reference ranks wrongly",
        checks=("tests/objectives/test_modulated.py::test_by_hand",),
    ),
)
