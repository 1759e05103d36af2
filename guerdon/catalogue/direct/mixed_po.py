"""Mixed preference optimisation: DPO on pairs with a wide gap, then reinforcement on the prompts of the others
(card 175)."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from guerdon.batch import Comparison, Message, Preference, Samples, Seed
from guerdon.catalogue.method import REPORTING, Method
from guerdon.data import by_gap, cross_fitted
from guerdon.data.reward_gaps import Gap
from guerdon.lab import finite as lab
from guerdon.lab.frontier import frontier_metrics
from guerdon.lab.protocol import Claim, Experiment
from guerdon.objectives import dpo
from guerdon.rewards import reward
from guerdon.training import Optim, Prompts, run
from guerdon.training.mixed import mixed_po
from guerdon.worlds.finite import lookup

KL_LIMIT = 3.0
PAIRS, FLIPS, BETA = 512, 0.25, 0.3
UPDATES = (8, 20, 40)  # in all; half of them are DPO's where there are two stages


def _table(records: list[Preference]) -> lab.Comparisons:
    rows = [[int(t) for t in (r.prompt_text, r.response_text(0), r.response_text(1))] for r in records]
    prompt, winner, loser = torch.tensor(rows).unbind(-1)
    return lab.Comparisons(prompt, winner, loser, torch.zeros(len(rows), dtype=torch.bool))


def split(bed: lab.Finite, compared: lab.Comparisons, seed: int) -> tuple[list[Preference], list[Preference]]:
    """Easy and hard pairs by the gap of a reward that was fitted on other prompts; the median parts them."""
    rows = zip(compared.prompt.tolist(), compared.winner.tolist(), compared.loser.tolist(), strict=True)
    records = [
        Preference(
            (Message.of("user", str(x)),), tuple((Message.of("assistant", str(y)),) for y in ys), (Comparison(0, 1),)
        )
        for x, *ys in rows
    ]

    def fit(some: Any) -> Gap:
        fitted = lab.fit_reward(bed, _table(some))
        return lambda r: float(
            fitted[int(r.prompt_text), int(r.response_text(0))] - fitted[int(r.prompt_text), int(r.response_text(1))]
        )

    return by_gap(records, cross_fitted(records, fit, seed=seed))


def run_one(arm: str, config: Mapping[str, Any], seed: int, smoke: bool) -> Mapping[str, float]:
    """One seed of one arm: exact gold against exact KL to the start over the number of updates, as many for each."""
    key = Seed(seed).child("catalogue")
    bed = lab.finite(key, prompts=4, responses=16) if smoke else lab.finite(key)
    compared = lab.compare(bed, 64 if smoke else PAIRS, key, FLIPS)
    easy, hard = split(bed, compared, seed)
    values, points = lab.fit_reward(bed, compared), []

    @reward
    def learned(samples: Samples) -> Tensor:
        return lookup(values, samples)

    optim, few = Optim(lr=config["lr"], kind="adam", clip=None), 2 if smoke else None
    for updates in UPDATES:
        world, snapshots = bed.fresh()
        own = (updates + 1) // 2 if arm == "mixed-po" else 0
        prompts = sorted({int(r.prompt_text) for r in (hard if own else [*easy, *hard])})
        stages = mixed_po(
            world,
            snapshots,
            lab.offline(bed, _table(easy), dpo()).source if own else None,
            Prompts(prompts, len(prompts)),
            learned,
            rounds=few or updates - own,
            first={"beta": BETA, "rounds": few or own, "optim": optim},
            then={"per_start": 8, "kl": config["kl"], "optim": optim, "seed": key.child("online")},
        )
        for stage in stages:
            run(stage)
        points.append(lab.evaluate(bed, snapshots))
    return frontier_metrics([(max(0.0, p["kl"]), p["gold"]) for p in points], bed.start, KL_LIMIT)


METHOD = Method(
    slug="mixed-po",
    card=175,
    title="Mixed Preference Optimization: Reinforcement Learning with Data Selection and Better Reference Model",
    paper="Gou & Nguyen 2024, arXiv 2403.19443",
    family="direct",
    essence="DPO learns the pairs that a reward model is sure of; reinforcement goes on from there on other prompts.",
    composition="by_gap(records, cross_fitted(records, fit)), then mixed_po(world, snapshots, easy, hard, reward)",
    experiment=Experiment(
        slug="mixed-po",
        claim=Claim(
            kind="effect",
            metric="area",
            baseline="rloo",
            smallest_effect=0.1,
            statement="More gold than RLOO from the start at equal KL to the start, 25 % flips (mean over KL up to 3)",
        ),
        run=f"{__name__}:run_one",
        method="mixed-po",
        grid={"kl": (0.03, 0.3), "lr": (0.03, 0.1)},
        reporting_seeds=(*REPORTING, *range(18, 26)),
        sources=(
            "guerdon.data.reward_gaps",
            "guerdon.training.mixed",
            "guerdon.objectives.pairwise",
            "guerdon.lab.finite",
        ),
        budget="512 pairs, 8 to 40 updates in all, 8 samples a prompt; 2 KL weights and 2 learning rates searched",
    ),
    caveat="RLOO stands for PPO in both arms. KL limit and seeds were settled after a pilot on tuning seeds.",
    checks=(
        "tests/data/test_reward_gaps.py::test_a_partition",
        "tests/data/test_reward_gaps.py::test_the_ends_of_the_threshold",
    ),
)
