"""Beyond Bradley–Terry and beyond a reward: general preferences, rewriting, posteriors, self-rewarding."""

from collections.abc import Mapping

from guerdon.objectives import Objective, brain, cream, gpo, srpo
from guerdon.training.companions import Companion
from guerdon.training.methods.preset import Preset, iterated
from guerdon.training.prompt_lists import prompt_lists
from guerdon.training.recipe import Build
from guerdon.training.self_rewarding import PREVIOUS, ROUND, START, SelfRewardingRounds, self_labelled, unlabelled
from guerdon.worlds.snapshots import Frozen, Rule


def general_policy(beta: float = 1e-3, ends: bool = True, limit: float | None = None) -> Objective:
    """GPO against the policy that the lists were drawn from."""
    return gpo(beta, ends, limit)


def rewriting(beta: float = 0.05, alpha: float = 0.5) -> Objective:
    """SRPO against the start policy."""
    return srpo(beta, alpha)


def posterior(gamma: float = 1.0) -> Objective:
    """BRAIn on recorded lists, taken to be the start policy's own."""
    return brain(gamma, behaviour="reference")


def posterior_online(gamma: float = 1.0) -> Objective:
    """BRAIn on the policy's samples."""
    return brain(gamma)


def whole_lists(parts: int = 1, passes: int = 2) -> Build:
    """Every prompt's samples as a list; ``parts`` minibatches, ``passes`` times a round."""
    return prompt_lists(count=parts, epochs=passes)


def several_lists(parts: int = 1, passes: int = 1) -> Build:
    """Every prompt's samples as a list; ``parts`` minibatches, ``passes`` times a round."""
    return prompt_lists(count=parts, epochs=passes)


def confident(beta: float = 0.1) -> Objective:
    """CREAM against the start of the self-rewarding round."""
    return cream(beta)


def own_versions() -> Mapping[str, Rule]:
    """The policy before the first round, at the start of this one, and at the start of the one before."""
    return {START: Frozen(), ROUND: Frozen(), PREVIOUS: Frozen()}


def self_rewarding(iterations: int = 3) -> tuple[Companion, ...]:
    """What moves the versions."""
    return (SelfRewardingRounds(iterations),)


GENERAL, REWRITTEN = "tests/objectives/test_gpo.py", "tests/objectives/test_srpo.py"
POSTERIOR, OWN = "tests/objectives/test_brain.py", "tests/training/test_self_rewarding.py"

PRESETS = (
    Preset(
        "gpo",
        "Zhang et al. 2024, arXiv 2410.02197",
        general_policy,
        "lists",
        card=158,
        protects="cycles that no reward can hold",
        checks=(f"{GENERAL}::test_two_rows_by_hand",),
    ),
    Preset(
        "gpo-online",
        "Zhang et al. 2024, arXiv 2410.02197",
        general_policy,
        "prompts",
        rules=iterated,
        build=several_lists,
        also={"per_start": 5},
        needs=("reward",),
        protects="cycles that no reward can hold",
        checks=(f"{GENERAL}::test_two_rows_by_hand",),
    ),
    Preset(
        "srpo",
        "Choi et al. 2024, arXiv 2406.01660",
        rewriting,
        "rewritten",
        card=149,
        protects="a solution tied to where pairs came from",
        checks=(f"{REWRITTEN}::test_card_values",),
    ),
    Preset(
        "brain",
        "Pandey et al. 2024, arXiv 2402.02479",
        posterior,
        "lists",
        card=154,
        protects="the variance of importance weights",
        checks=(f"{POSTERIOR}::test_two_samples_by_hand",),
    ),
    Preset(
        "brain-online",
        "Pandey et al. 2024, arXiv 2402.02479",
        posterior_online,
        "prompts",
        build=whole_lists,
        also={"per_start": 8},
        needs=("reward",),
        protects="the variance of importance weights",
        checks=(f"{POSTERIOR}::test_two_samples_by_hand",),
    ),
    Preset(
        "cream",
        "Wang et al. 2024, arXiv 2410.12735",
        confident,
        "prompts",
        rules=own_versions,
        estimator=unlabelled,
        build=self_labelled,
        companions=self_rewarding,
        also={"per_start": 5},
        card=41,
        protects="unsure labels of one's own",
        checks=(f"{OWN}::test_rankings_alike_and_reversed",),
    ),
)
