"""SimPO: the length-averaged log-probability as implicit reward, with a target margin and no reference (card 139)."""

from collections.abc import Mapping
from typing import Any

from guerdon.catalogue.direct.frontier import offline_frontier
from guerdon.catalogue.method import REPORTING, Method
from guerdon.lab.protocol import Claim, Experiment
from guerdon.lab.text_gold.pairs import Annotator
from guerdon.objectives import dpo, simpo

KL_LIMIT = 2.0
EPOCHS = (0.25, 0.5, 1.0, 2.0, 4.0)
BETAS = {"simpo": (1.0, 2.5, 10.0), "dpo": (0.03, 0.1, 0.3)}
LENGTH_LOVING = Annotator(pairs=1000, flips=0.0, length=0.15)


def run_one(arm: str, config: Mapping[str, Any], seed: int, smoke: bool) -> Mapping[str, float]:
    """One seed of one arm: gold against KL over the length of training, on labels of an annotator who likes length.

    config['strength'] picks the weakest, middle or strongest β of the arm; SimPO's γ/β is 0.5 throughout.
    """
    beta = BETAS[arm][config["strength"]]
    objective = simpo(beta, 0.5 * beta) if arm == "simpo" else dpo(beta)
    recipes = [(objective, epochs) for epochs in EPOCHS]
    return offline_frontier(recipes, config["lr"], seed, KL_LIMIT, LENGTH_LOVING, smoke)


METHOD = Method(
    slug="simpo",
    card=139,
    title="SimPO: Simple Preference Optimization with a Reference-Free Reward",
    paper="Meng et al. 2024, arXiv 2405.14734",
    family="direct",
    essence=(
        "The mean token log-probability is the implicit reward, as in decoding; a margin γ is asked for "
        "and no reference is needed."
    ),
    composition="pairwise(scaled(beta, mean_logprob()), logistic(margin=gamma))",
    experiment=Experiment(
        slug="simpo",
        claim=Claim(
            kind="effect",
            metric="area",
            baseline="dpo",
            smallest_effect=0.1,
            statement=(
                "More gold than DPO at equal KL where annotators like length (mean over KL up to 2 nats, "
                "in gold's units)"
            ),
        ),
        run=f"{__name__}:run_one",
        method="simpo",
        grid={"lr": (3e-4, 1e-3), "strength": (0, 1, 2)},
        reporting_seeds=REPORTING,
        sources=(
            "guerdon.catalogue.direct.frontier",
            "guerdon.objectives.pairwise",
            "guerdon.objectives.scores",
            "guerdon.objectives.terms",
            "guerdon.lab.text_gold",
            "guerdon.lab.frontier",
        ),
        budget="1,000 pairs, a quarter to 4 epochs; 3 values of β and 2 learning rates searched for each arm",
    ),
    caveat=(
        "The paper's gain is in length-controlled win rate of 7B models; here gold itself asks for a "
        "length. Mean lengths are stored. Sweeping the length of training, not β, was settled after a pilot on tuning "
        "seed 1000."
    ),
)
