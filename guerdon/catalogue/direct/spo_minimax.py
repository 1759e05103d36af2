"""SPO (minimax): the win rate against the policy's other samples as reward, instead of a fitted one (card 184)."""

from collections.abc import Mapping
from typing import Any

from guerdon import advantages
from guerdon.catalogue.direct.selfplay import played
from guerdon.catalogue.method import Method
from guerdon.lab.duels import Averaging, Contest, FittedScores, online
from guerdon.lab.protocol import Claim, Experiment
from guerdon.objectives import reinforce
from guerdon.training.estimators import by_row
from guerdon.training.recipe import Recipe
from guerdon.training.selfplay import against_peers

RESPONSES = 5


def run_one(arm: str, config: Mapping[str, Any], seed: int, smoke: bool) -> Mapping[str, float]:
    """One seed of one arm: policy gradient on win rates, or on Bradley–Terry scores fitted to all duels so far."""

    def recipe(bed: Contest, beside: tuple[Averaging]) -> Recipe:
        win_rates = arm == "spo"
        return online(
            bed,
            reinforce(),
            estimator=against_peers(bed.judge) if win_rates else by_row(advantages.rloo),
            reward=None if win_rates else FittedScores(bed),
            per_start=4,
            lr=config["lr"],
            sampler="policy",
            companions=beside,
        )

    return played(recipe, seed, RESPONSES, smoke)


METHOD = Method(
    slug="spo-minimax",
    card=184,
    title="A Minimaximalist Approach to Reinforcement Learning from Human Feedback",
    paper="Swamy et al. 2024, arXiv 2401.04056",
    family="direct",
    essence=(
        "A response's reward is its win rate against other samples of the same policy, so that self-play heads for the "
        "minimax winner of preferences that no score explains."
    ),
    composition="reinforce() on against_peers(judge)",
    experiment=Experiment(
        slug="spo-minimax",
        claim=Claim(
            kind="effect",
            metric="exploitability",
            direction="lower",
            baseline="fitted reward",
            smallest_effect=0.02,
            statement=(
                "An average policy that is less exploitable than policy gradient's on a reward fitted to the same kind "
                "of duels, on cyclic preferences"
            ),
        ),
        run=f"{__name__}:run_one",
        method="spo",
        grid={"lr": (0.003, 0.01, 0.03, 0.1)},
        reporting_seeds=tuple(range(10, 22)),
        sources=(
            "guerdon.catalogue.direct.selfplay",
            "guerdon.objectives.policy",
            "guerdon.objectives.terms",
            "guerdon.advantages.group",
            "guerdon.training.duels",
            "guerdon.training.selfplay",
            "guerdon.lab.duels",
        ),
        budget="240 updates, 4 samples a prompt; 4 learning rates for each arm",
    ),
    caveat=(
        "24 prompts with 5 responses each, preferences known exactly to the judge and to the fit. The paper's control "
        "tasks are not run; its queue of past trajectories is the reward WinRateQueue. Exploitability is that of the "
        "mean over rounds: the last policy cycles."
    ),
    checks=(
        "tests/training/test_selfplay.py::test_win_rates_sum_to_half_the_group",
        "tests/training/test_selfplay.py::test_equal_rows_tie_and_hard_transitive_win_rates_are_affine_ranks",
        "tests/training/test_selfplay.py::test_flipped_labels_scale_win_rates_about_one_half",
    ),
)
