"""RSO: pairs of candidates that rejection sampling moved towards the optimum, against pairs of plain samples
(card 159)."""

from collections.abc import Mapping
from typing import Any

import torch

from guerdon.batch import Seed
from guerdon.catalogue.direct.exact import Annotator, Point, exact_frontier
from guerdon.catalogue.method import REPORTING, Method
from guerdon.data.rejection import by_reward, first_round_pairs, rejection_sample
from guerdon.lab import finite as lab
from guerdon.lab.protocol import Claim, Experiment
from guerdon.objectives import rso

KL_LIMIT = 5.0
CANDIDATES, KEEP, SETS = 64, 8, 8
LR = 0.05
ROUNDS = (6, 14, 30, 60)


def ranked(bed: lab.Finite, human: lab.Comparisons, temperature: float, seed: Seed, smoke: bool) -> lab.Comparisons:
    """Pairs of survivors of ``CANDIDATES`` samples a set, labelled by the reward that was fitted on human pairs."""
    reward = lab.fit_reward(bed, human)
    draws = seed.child("candidates").torch()
    rows = []
    for number in range(1 if smoke else SETS):
        drawn = torch.multinomial(bed.reference.exp(), CANDIDATES, replacement=True, generator=draws)
        for x, responses in enumerate(drawn.tolist()):
            worth = reward[x, responses].tolist()
            key = seed.child("set", number, x)
            kept = rejection_sample(worth, KEEP, temperature, key)
            pairs = first_round_pairs(kept, by_reward(worth), key)
            rows += [(x, responses[w], responses[l]) for w, l in pairs]
    prompt, winner, loser = torch.tensor(rows).unbind(-1)
    return lab.Comparisons(prompt, winner, loser, torch.zeros(len(rows), dtype=torch.bool))


def run_one(arm: str, config: Mapping[str, Any], seed: int, smoke: bool) -> Mapping[str, float]:
    """One seed of one arm: exact gold against exact KL over the length of training; both arms have one loss and as
    many pairs."""
    temperature = config["temperature"] if arm == "rso" else float("inf")
    key = Seed(seed).child("catalogue", "rso")

    def point(rounds: int) -> Point:
        return lambda bed, human: lab.offline(
            bed, ranked(bed, human, temperature, key, smoke), rso(config["gamma"]), LR, rounds
        )

    return exact_frontier([point(rounds) for rounds in ROUNDS], seed, KL_LIMIT, Annotator(pairs=256), smoke)


METHOD = Method(
    slug="rso",
    card=159,
    title="Statistical Rejection Sampling Improves Preference Optimization",
    paper="Liu et al. 2023, arXiv 2309.06657",
    family="direct",
    essence=(
        "A loss that estimates the optimal policy wants pairs from that policy; rejection sampling by a reward model "
        "brings samples of the start policy closer to it."
    ),
    composition="rejected(records, keep=8, temperature=0.5), then pairwise(scaled(gamma, log_ratio()), logistic())",
    experiment=Experiment(
        slug="rso",
        claim=Claim(
            kind="effect",
            metric="area",
            baseline="sft-sample-rank",
            smallest_effect=0.1,
            statement="More gold than the same loss on pairs of plain samples at equal KL (mean over KL up to 5 nats)",
        ),
        run=f"{__name__}:run_one",
        method="rso",
        grid={"gamma": (0.05, 0.5), "temperature": (0.2, 0.5, 2.0)},
        reporting_seeds=REPORTING,
        sources=(
            "guerdon.catalogue.direct.exact",
            "guerdon.data.rejection",
            "guerdon.objectives.rso",
            "guerdon.objectives.pairwise",
            "guerdon.objectives.scores",
            "guerdon.objectives.terms",
            "guerdon.lab.finite",
            "guerdon.lab.frontier",
        ),
        budget=(
            "A reward from 256 human pairs; 8 sets of 64 candidates a prompt, 8 kept, 512 pairs; 6 to 60 updates; 2 "
            "values of γ and 3 temperatures searched for each arm"
        ),
    ),
    caveat=(
        "The reward model is linear while gold saturates. The temperature does nothing in the other arm, which accepts "
        "all. The sweep over training length and the KL limit were settled after pilots on tuning seeds; δ was not."
    ),
    checks=(
        "tests/data/test_rejection.py::test_acceptance_of_the_card",
        "tests/data/test_rejection.py::test_always_so_many_and_none_twice",
        "tests/data/test_rejection.py::test_a_shift_of_the_rewards_changes_nothing",
        "tests/data/test_rejection.py::test_one_of_many_follows_the_tilted_law",
        "tests/objectives/test_degree.py::test_the_links_of_rso",
    ),
)
