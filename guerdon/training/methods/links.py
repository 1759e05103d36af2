"""Other links of the log-ratios' difference, losses of both sides' levels, and what guards against noisy labels."""

from guerdon.objectives import (
    Objective,
    aot,
    apo_down,
    apo_zero,
    bco,
    bco_pair,
    cal_dpo,
    discopop,
    dpo,
    dpop,
    exo,
    exp_dpo,
    hinge_dpo,
    nca,
    robust_dpo,
    slic,
    squared_hinge_dpo,
)
from guerdon.training.methods.preset import Preset, only_policy
from guerdon.training.numbered import numbered_pairs


def cdpo(beta: float = 0.1, smoothing: float = 0.1) -> Objective:
    """DPO whose labels are taken to be wrong with probability ``smoothing``."""
    return dpo(beta, smoothing)


LINKS = "tests/objectives/test_links.py"
ANCHORED = "tests/objectives/test_anchored.py"
SETS = "tests/objectives/test_bco_aot.py"

PRESETS = (
    Preset(
        "cdpo",
        "Mitchell 2023, A note on DPO with noisy preferences",
        cdpo,
        protects="flipped labels, by finite margins",
        checks=(f"{LINKS}::test_neutral_parameters_give_the_parent",),
    ),
    Preset(
        "robust-dpo",
        "Chowdhury et al. 2024, arXiv 2403.00409",
        robust_dpo,
        protects="flipped labels, without bias",
        checks=(f"{LINKS}::test_over_flips_robust_dpo_is_clean_dpo",),
    ),
    Preset(
        "hinge-dpo",
        "Zhao et al. 2023, arXiv 2305.10425",
        hinge_dpo,
        protects="margins grown beyond need",
        checks=(f"{LINKS}::test_links_by_hand",),
    ),
    Preset(
        "squared-hinge-dpo",
        "Tang et al. 2024, arXiv 2402.05749",
        squared_hinge_dpo,
        protects="margins grown beyond need, smoothly",
        checks=(f"{LINKS}::test_links_by_hand",),
    ),
    Preset(
        "exp-dpo",
        "Tang et al. 2024, arXiv 2402.05749",
        exp_dpo,
        protects="pairs left wrong; trusts labels",
        checks=(f"{LINKS}::test_links_by_hand",),
    ),
    Preset(
        "discopop",
        "Lu et al. 2024, arXiv 2406.08414",
        discopop,
        protects="hopeless pairs pulling ever harder",
        checks=(f"{LINKS}::test_discopop_by_hand",),
    ),
    Preset(
        "exo",
        "Ji et al. 2024, arXiv 2402.00856",
        exo,
        protects="mass spread over bad responses",
        checks=(f"{LINKS}::test_exo_by_hand",),
    ),
    Preset(
        "slic",
        "Zhao et al. 2023, arXiv 2305.10425",
        slic,
        rules=only_policy,
        protects="drift from targets; no reference",
        checks=(f"{LINKS}::test_slic_by_hand",),
    ),
    Preset(
        "nca",
        "Chen et al. 2024, arXiv 2402.05369",
        nca,
        protects="falling likelihood of chosen responses",
        checks=(f"{ANCHORED}::test_sides_by_hand",),
    ),
    Preset(
        "apo-zero",
        "D'Oosterlinck et al. 2024, arXiv 2408.06266",
        apo_zero,
        protects="falling likelihood of better winners",
        checks=(f"{ANCHORED}::test_sides_by_hand",),
    ),
    Preset(
        "apo-down",
        "D'Oosterlinck et al. 2024, arXiv 2408.06266",
        apo_down,
        protects="imitating winners worse than policy",
        checks=(f"{ANCHORED}::test_apo_down_lowers_the_winner_exactly_where_the_card_says",),
    ),
    Preset(
        "dpop",
        "Pal et al. 2024, arXiv 2402.13228",
        dpop,
        protects="falling likelihood of chosen responses",
        checks=(f"{ANCHORED}::test_dpop_by_hand",),
    ),
    Preset(
        "cal-dpo",
        "Xiao et al. 2024, arXiv 2412.14516",
        cal_dpo,
        protects="implicit rewards without a scale",
        checks=(f"{ANCHORED}::test_cal_dpo_by_hand",),
    ),
    Preset(
        "bco",
        "Jung et al. 2024, arXiv 2404.04656",
        bco,
        "unpaired",
        protects="the need for paired labels",
        checks=(f"{SETS}::test_bco_by_hand",),
    ),
    Preset(
        "bco-pair",
        "Jung et al. 2024, arXiv 2404.04656",
        bco_pair,
        protects="falling likelihood, by levels",
        checks=(f"{SETS}::test_bco_of_pairs_by_hand",),
    ),
    Preset(
        "aot",
        "Melnyk et al. 2024, arXiv 2406.05882",
        aot,
        build=numbered_pairs,
        protects="gains on average, losses beneath",
        checks=(f"{SETS}::test_aot_by_hand",),
    ),
)
