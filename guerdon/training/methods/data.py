"""Methods that are mostly a way to make data: rankings, curricula, rejection sampling, conditioning, margins."""

from collections.abc import Mapping

from guerdon.data.conditioned import reward_augmented
from guerdon.data.curriculum import curriculum
from guerdon.data.degrees import with_degrees
from guerdon.data.rejection import rejected
from guerdon.objectives import Objective, dpo, dpo_ranking, lipo, modpo, rso, spo_degree, tpo_tree
from guerdon.training.graded import graded_lists
from guerdon.training.methods.preset import Preset, iterated
from guerdon.training.mixed import easy_pairs
from guerdon.training.rejection import rejected_pairs
from guerdon.training.steps import lexical_steps
from guerdon.worlds.snapshots import Rule


def lipo_of_scores(beta: float = 0.05, kind: str = "lambda", rescale: bool = True) -> Objective:
    """LiPO on scores of any scale."""
    return lipo(beta, kind, rescale)


def tree_of_scores(beta: float = 0.5, adaptive: bool = True, rescale: bool = True) -> Objective:
    """TPO on scores of any scale."""
    return tpo_tree(beta, adaptive, rescale)


def modpo_of_score(beta: float = 0.1, weight: float = 0.5) -> Objective:
    """MODPO whose other objective is the records' score, with weight 1 − ``weight``."""
    return modpo(beta, weight)


def reward_conditioned(beta: float = 0.01, smoothing: float = 0.3) -> Objective:
    """DPO as the authors train it on reward-augmented pairs."""
    return dpo(beta, smoothing)


def degree_heads(degrees: int = 3, kind: str = "classify") -> tuple[str, ...]:
    """The heads that ``degree_loss`` reads."""
    return tuple(f"degree{j}" for j in range(degrees + 1 if kind == "classify" else 1))


def refreshed(stages: int = 3, updates: int = 1) -> Mapping[str, Rule]:
    """The reference becomes the policy whenever a stage of the curriculum ends, ``stages`` of equal length."""
    return iterated(stages, updates)


PRESETS = (
    Preset(
        "pl-dpo",
        "Rafailov et al. 2023, arXiv 2305.18290",
        dpo_ranking,
        "lists",
        protects="what is known beyond one pair",
        checks=("tests/objectives/test_ranked.py::test_two_rows_are_dpo",),
    ),
    Preset(
        "lipo",
        "Liu et al. 2024, arXiv 2402.01878",
        lipo_of_scores,
        "lists",
        protects="the top of the ranking",
        checks=("tests/objectives/test_ranked.py::test_lipo_by_hand",),
    ),
    Preset(
        "tpo-tree",
        "Liao et al. 2024, arXiv 2410.12854",
        tree_of_scores,
        "lists",
        estimator=lexical_steps,
        card=161,
        protects="steps that all branches share",
        checks=("tests/objectives/test_ranked.py::test_lambda_of_the_card",),
    ),
    Preset(
        "curry-dpo",
        "Pattnaik et al. 2024, arXiv 2403.07230",
        dpo,
        rules=refreshed,
        records=curriculum,
        ordered=True,
        card=183,
        protects="hard pairs coming too early",
        checks=("tests/data/test_curriculum.py::test_four_ranks_give_three_stages",),
    ),
    Preset(
        "rso",
        "Liu et al. 2023, arXiv 2309.06657",
        rso,
        "scored",
        records=rejected,
        card=159,
        protects="pairs far from the optimum",
        checks=("tests/data/test_rejection.py::test_acceptance_of_the_card",),
    ),
    Preset(
        "rso-online",
        "Liu et al. 2023, arXiv 2309.06657",
        rso,
        "prompts",
        build=rejected_pairs,
        sampler="reference",
        also={"per_start": 16},
        needs=("reward",),
        card=159,
        protects="pairs far from the optimum",
        checks=("tests/training/test_data_methods.py::test_rejected_pairs",),
    ),
    Preset(
        "ra-dpo",
        "Zhang et al. 2024, arXiv 2410.08067",
        reward_conditioned,
        "scored",
        records=reward_augmented,
        card=21,
        protects="good answers that lost",
        checks=("tests/data/test_conditioned.py::test_doubles_and_swaps",),
    ),
    Preset(
        "modpo",
        "Zhou et al. 2023, arXiv 2310.03708",
        modpo_of_score,
        "scored",
        card=142,
        protects="one objective eating another",
        checks=("tests/objectives/test_modpo.py::test_the_card",),
    ),
    Preset(
        "spo-degree",
        "Li et al. 2024, arXiv 2409.17791",
        spo_degree,
        "lists",
        records=with_degrees,
        build=graded_lists,
        heads=degree_heads,
        card=148,
        protects="degrees that pairs cannot tell",
        checks=("tests/objectives/test_degree.py::test_gamma_0_is_the_base_loss",),
    ),
    Preset(
        "mixed-po",
        "Gou & Nguyen 2024, arXiv 2403.19443",
        dpo,
        records=easy_pairs,
        card=175,
        protects="mislabelled and undecided pairs",
        checks=("tests/data/test_reward_gaps.py::test_a_partition",),
    ),
)
