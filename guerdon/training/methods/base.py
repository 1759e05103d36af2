"""The best-known methods of both kinds."""

from guerdon import advantages
from guerdon.objectives import Objective, clipped, dpo, ipo_mean, ipo_sum, kl_penalty, kto, reinforce, simpo
from guerdon.training.builds import minibatches
from guerdon.training.estimators import by_row, greedy_baseline
from guerdon.training.methods.preset import Preset, only_policy
from guerdon.training.recipe import Build, Estimator


def simpo_by_ratio(beta: float = 2.0, margin: float = 0.5, smoothing: float = 0.0) -> Objective:
    """SimPO with ``margin`` = γ/β in nats a token, as its authors tune it."""
    return simpo(beta, margin * beta, smoothing)


def labelled(beta: float = 0.1, desirable: float = 1.0, undesirable: float = 1.0) -> Objective:
    """KTO against the reference."""
    return kto(beta, desirable, undesirable)


def leave_one_out(kl: float = 0.05) -> Estimator:
    """RLOO with the KL to the reference in the reward."""
    return by_row(advantages.rloo, kl=kl)


def group_relative() -> Estimator:
    """GRPO's advantages: rewards of a prompt's samples, centred and scaled."""
    return by_row(advantages.group_relative)


def grpo(kl: float = 0.04, low: float = 0.2) -> Objective:
    """The clipped surrogate, and k3 against the reference where ``kl`` is not 0."""
    return clipped(low) + kl * kl_penalty() if kl else clipped(low)


def several(parts: int = 1, epochs: int = 1) -> Build:
    """``parts`` minibatches, ``epochs`` times a round."""
    return minibatches(parts, epochs)


def against_greedy(kl: float = 0.05) -> Estimator:
    """ReMax: the reward of the greedy response is the baseline."""
    return greedy_baseline(kl=kl)


PRESETS = (
    Preset(
        "dpo",
        "Rafailov et al. 2023, arXiv 2305.18290",
        dpo,
        card=169,
        protects="nothing in particular: the baseline",
        checks=("tests/objectives/test_losses.py::test_dpo_by_hand",),
    ),
    Preset(
        "ipo",
        "Azar et al. 2023, arXiv 2310.12036",
        ipo_sum,
        protects="infinite margins on deterministic labels",
        checks=("tests/objectives/test_losses.py::test_ipo_sum_and_mean_are_two_objectives",),
    ),
    Preset(
        "ipo-mean",
        "Azar et al. 2023, arXiv 2310.12036",
        ipo_mean,
        protects="infinite margins, and length",
        checks=("tests/objectives/test_losses.py::test_ipo_sum_and_mean_are_two_objectives",),
    ),
    Preset(
        "simpo",
        "Meng et al. 2024, arXiv 2405.14734",
        simpo_by_ratio,
        rules=only_policy,
        card=139,
        protects="length; needs no reference",
        checks=("tests/objectives/test_losses.py::test_simpo_by_hand",),
    ),
    Preset(
        "kto",
        "Ethayarajh et al. 2024, arXiv 2402.01306",
        labelled,
        "unpaired",
        protects="the need for pairs; label imbalance by its two weights",
        checks=("tests/objectives/test_unpaired.py::test_hand_value",),
    ),
    Preset(
        "rloo",
        "Ahmadian et al. 2024, arXiv 2402.14740",
        reinforce,
        "prompts",
        estimator=leave_one_out,
        also={"per_start": 4},
        needs=("reward",),
    ),
    Preset(
        "grpo",
        "Shao et al. 2024, arXiv 2402.03300",
        grpo,
        "prompts",
        estimator=group_relative,
        build=several,
        also={"per_start": 8},
        needs=("reward",),
    ),
    Preset(
        "remax",
        "Li et al. 2023, arXiv 2310.10505",
        reinforce,
        "prompts",
        estimator=against_greedy,
        also={"per_start": 1, "greedy": True},
        needs=("reward",),
        card=192,
    ),
)
