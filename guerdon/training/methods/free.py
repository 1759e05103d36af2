"""Methods without a reference, under other divergences, with weights, margins and lengths, and with a reference that
moves."""

from collections.abc import Callable, Mapping

from guerdon.batch import Seed
from guerdon.objectives import (
    Objective,
    alphapo,
    asft,
    beta_dpo,
    chi_po,
    cpo,
    dpo,
    f_dpo,
    odpo,
    orpo,
    r_dpo,
    sampo,
    tdpo,
    tdpo1,
    triple_po,
    triple_po_l,
    wpo,
)
from guerdon.objectives.dynamic import GAP
from guerdon.training.companions import Companion
from guerdon.training.methods.preset import Preset, iterated, only_policy
from guerdon.training.running import RunningMean
from guerdon.worlds.snapshots import EMA, CopyEvery, Rule


def drawn_anew(beta: float = 0.1, seed: int = 0, smoothing: float = 0.0) -> Callable[[int], Objective]:
    """SamPO whose steps are drawn anew for every update."""
    return lambda step: sampo(beta, Seed(seed).child("sampo", step), smoothing)


def following(alpha: float = 0.6, every: int = 64) -> Mapping[str, Rule]:
    """The reference takes a share ``alpha`` of the policy after every ``every`` updates (TR-DPO, soft)."""
    return {"reference": EMA(1 - alpha, every)}


def replaced(every: int = 512) -> Mapping[str, Rule]:
    """The reference becomes the policy after every ``every`` updates (TR-DPO, hard)."""
    return {"reference": CopyEvery(every)}


def staged(stages: int = 2, updates: int = 1) -> Mapping[str, Rule]:
    """The reference is what the previous of ``stages`` equal parts of the run ended with (sDPO)."""
    return iterated(stages, updates)


def mean_gap(momentum: float = 0.9) -> tuple[Companion, ...]:
    """β-DPO's M₀."""
    return (RunningMean(GAP, momentum),)


def _checks(file: str, *tests: str) -> tuple[str, ...]:
    return tuple(f"tests/objectives/test_{file}.py::test_{test}" for test in tests)


PRESETS = (
    Preset(
        "cpo",
        "Xu et al. 2024, arXiv 2401.08417",
        cpo,
        rules=only_policy,
        protects="forgetting the chosen; no reference",
        checks=_checks("free", "cpo_by_hand"),
    ),
    Preset(
        "alphapo",
        "Gupta et al. 2025, arXiv 2501.03884",
        alphapo,
        rules=only_policy,
        protects="likelihood displacement, by reward shape",
        checks=_checks("free", "alphapo_by_hand", "alphapo_at_0_is_simpo"),
    ),
    Preset(
        "orpo",
        "Hong et al. 2024, arXiv 2403.07691",
        orpo,
        rules=only_policy,
        protects="needing SFT and a reference",
        checks=_checks("odds", "orpo_by_hand"),
    ),
    Preset(
        "asft",
        "Wang et al. 2024, arXiv 2409.10571",
        asft,
        rules=only_policy,
        card=189,
        protects="falling likelihood of both sides",
        checks=_checks("odds", "asft_by_hand", "asft_is_two_likelihoods", "asft_lets_go_of_unlikely_losers"),
    ),
    Preset(
        "triple-po",
        "Saeidi et al. 2024, arXiv 2405.16681",
        triple_po,
        "lists",
        rules=only_policy,
        card=172,
        protects="needing a stage of SFT",
        checks=_checks("triples", "triple_by_hand", "a_list_of_two_is_cpo", "without_the_gold_term_it_is_a_plain_pair"),
    ),
    Preset(
        "triple-po-l",
        "Saeidi et al. 2024, arXiv 2405.16681",
        triple_po_l,
        "lists",
        rules=only_policy,
        card=172,
        protects="length; needing SFT before",
        checks=_checks("triples", "triple_l_by_hand"),
    ),
    Preset(
        "f-dpo",
        "Wang et al. 2023, arXiv 2309.16240",
        f_dpo,
        card=171,
        protects="collapse onto few responses",
        checks=_checks("divergent", "links_by_hand", "every_link_starts_at_log_2", "optimum_is_that_of_the_divergence"),
    ),
    Preset(
        "chi-po",
        "Huang et al. 2024, arXiv 2407.13399",
        chi_po,
        protects="over-optimisation off the data's support",
        checks=_checks("divergent", "chi_po_by_hand", "chi_po_is_the_sum_of_two_links"),
    ),
    Preset(
        "beta-dpo",
        "Wu et al. 2024, arXiv 2407.08639",
        beta_dpo,
        companions=mean_gap,
        protects="one β for all batches",
        checks=_checks("dynamic", "beta_by_hand", "beta_is_of_the_whole_batch"),
    ),
    Preset(
        "wpo",
        "Zhou et al. 2024, arXiv 2406.11827",
        wpo,
        protects="pairs the policy would not write",
        checks=_checks("weighted", "wpo_by_hand", "weights_are_constants"),
    ),
    Preset(
        "odpo",
        "Amini et al. 2024, arXiv 2402.10571",
        odpo,
        "scored",
        protects="treating all preferences as equal",
        checks=_checks("strength", "odpo_by_hand"),
    ),
    Preset(
        "r-dpo",
        "Park et al. 2024, arXiv 2403.19159",
        r_dpo,
        protects="labels that length explains",
        checks=_checks("lengths", "r_dpo_by_hand"),
    ),
    Preset(
        "sampo",
        "Lu et al. 2024, arXiv 2406.10957",
        drawn_anew,
        protects="sums that grow with length",
        checks=_checks("lengths", "sampo_compares_equally_many_steps", "sampo_is_one_draw_however_it_is_cut"),
    ),
    Preset(
        "tdpo",
        "Zeng et al. 2024, arXiv 2404.11999",
        tdpo,
        protects="drift along rejected responses",
        checks=_checks("token_kl", "tdpo_by_hand", "the_chosen_drift_is_a_constant"),
    ),
    Preset(
        "tdpo-1",
        "Zeng et al. 2024, arXiv 2404.11999",
        tdpo1,
        protects="uneven drift of both sides",
        checks=_checks("token_kl", "tdpo1_by_hand"),
    ),
    Preset(
        "tr-dpo",
        "Gorbatovski et al. 2024, arXiv 2404.09656",
        dpo,
        rules=following,
        protects="over-optimisation against a stale reference",
        checks=("tests/training/test_moving_references.py::test_soft_updates_take_a_share",),
    ),
    Preset(
        "tr-dpo-hard",
        "Gorbatovski et al. 2024, arXiv 2404.09656",
        dpo,
        rules=replaced,
        protects="over-optimisation against a stale reference",
        checks=("tests/training/test_moving_references.py::test_hard_updates_copy",),
    ),
    Preset(
        "sdpo",
        "Kim et al. 2024, arXiv 2403.19270",
        dpo,
        rules=staged,
        protects="a reference that is outgrown",
        checks=("tests/training/test_moving_references.py::test_stages_start_from_the_last",),
    ),
)
