"""3D-properties: what DPO's pushes do to chosen, rejected and unseen responses, on the paper's own toy (card 168)."""

from collections.abc import Mapping
from typing import Any

from guerdon.batch import Seed
from guerdon.catalogue.method import REPORTING, Method
from guerdon.lab.protocol import Claim, Experiment
from guerdon.lab.scenarios import SCENARIOS, trained
from guerdon.objectives import dpo, flex_dpo

BETA, REJECTED = 0.1, 0.08


def run_one(arm: str, config: Mapping[str, Any], seed: int, smoke: bool) -> Mapping[str, float]:
    """One seed of one arm, 500 epochs: where the probability is at the end, means over the four scenarios.

    outside: on responses that stand in no pair of their prompt. fall: highest minus last probability of the chosen
    response. Also per scenario, with the KL to the start and the fall of the rejected in nats.
    """
    objective = dpo(BETA) if arm == "dpo" else flex_dpo(BETA, REJECTED)
    curves = trained(objective, Seed(seed), config["lr"], 20 if smoke else 500).curves()
    fall = curves["chosen"].amax(0) - curves["chosen"][-1]
    outside = 1 - curves["chosen"][-1] - curves["paired_rejected"][-1]
    dropped = (curves["rejected"][0] / curves["rejected"][-1].clamp(min=1e-30)).log()
    each = {
        f"{name} {scenario}": float(x[i])
        for i, scenario in enumerate(SCENARIOS)
        for name, x in (("outside", outside), ("fall", fall), ("rejected fell", dropped))
    }
    means = {"outside": outside, "fall": fall, "unseen": curves["unseen"][-1], "kl": curves["kl"][-1]}
    return {**{k: float(x.mean()) for k, x in means.items()}, **each}


METHOD = Method(
    slug="3d-properties",
    card=168,
    title="3D-Properties: Identifying Challenges in DPO and Charting a Path Forward",
    paper="Yan et al. 2024, arXiv 2406.07327",
    family="direct",
    essence=(
        "DPO drives rejected responses down drastically, loses its push on chosen ones and disperses probability onto "
        "responses in no pair; a weaker β on the rejected side, or an SFT term, tempers it."
    ),
    composition="flex_dpo(chosen=0.1, rejected=0.08)",
    experiment=Experiment(
        slug="3d-properties",
        claim=Claim(
            kind="effect",
            metric="outside",
            direction="lower",
            baseline="dpo",
            smallest_effect=0.05,
            statement=(
                "After 500 epochs Flex-DPO leaves less probability than DPO on responses that stand in no pair (mean "
                "over the four scenarios)"
            ),
        ),
        run=f"{__name__}:run_one",
        method="flex-dpo",
        grid={"lr": (5e-4, 2e-3)},
        reporting_seeds=REPORTING,
        sources=(
            "guerdon.lab.scenarios",
            "guerdon.objectives.shift",
            "guerdon.objectives.pairwise",
            "guerdon.objectives.scores",
            "guerdon.objectives.terms",
        ),
        budget="16 pairs, 500 full-batch epochs; 2 learning rates searched for each arm",
    ),
    caveat=(
        "Standing still would not win: the metric is 0.76 to 0.96 at the start. Most of the dispersed probability goes "
        "to the other prompts' chosen responses, which the network shares, and not to the two responses that no prompt "
        "has in a pair; both are stored, with the KL."
    ),
    checks=(
        "tests/audit/test_displacement.py::test_gradients_in_probability_space_are_those_of_autograd",
        "tests/audit/test_displacement.py::test_the_chosen_push_fades_and_the_rejected_one_blows_up",
        "tests/objectives/test_shift.py::test_flex_dpo_by_hand",
        "tests/objectives/test_optimism.py::test_sft_dpo_keeps_pushing_the_chosen_response",
    ),
)
