"""Reward-augmented data: a policy that is told the score to reach, asked for the best one (card 21)."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from guerdon.batch import Comparison, Message, Preference, Seed
from guerdon.catalogue.method import REPORTING, Method
from guerdon.data import reward_augmented, told
from guerdon.divergences import reverse_kl
from guerdon.lab import finite as lab
from guerdon.lab.frontier import frontier_metrics
from guerdon.lab.protocol import Claim, Experiment
from guerdon.objectives import dpo
from guerdon.training import run
from guerdon.worlds import only
from guerdon.worlds.finite import exact

KL_LIMIT = 3.0
GOALS, LR, PAIRS = 10, 0.05, 512
ROUNDS = (6, 14, 30, 60)


def scored(bed: lab.Finite, compared: lab.Comparisons) -> list[Preference]:
    """The pairs as records whose scores are gold on a scale from 1 to 10, rounded."""
    low, high = bed.gold.min(), bed.gold.max()
    scores = (1 + (GOALS - 1) * (bed.gold - low) / (high - low)).round()
    rows = zip(compared.prompt.tolist(), compared.winner.tolist(), compared.loser.tolist(), strict=True)
    return [
        Preference(
            (Message.of("user", str(x)),),
            tuple((Message.of("assistant", str(y)),) for y in sides),
            (Comparison(0, 1),),
            scores=tuple(float(scores[x, y]) for y in sides),
        )
        for x, *sides in rows
    ]


def conditional(bed: lab.Finite) -> lab.Finite:
    """Every prompt with every goal as a prompt of its own; the policy's weights may depend on the goal linearly."""
    goal = (torch.arange(GOALS) - (GOALS - 1) / 2) / ((GOALS - 1) / 2)
    features = bed.features[:, None].expand(-1, GOALS, -1, -1)
    both = torch.cat([features, features * goal[:, None, None]], -1).flatten(0, 1)
    return lab.Finite(both, bed.gold.repeat_interleave(GOALS, 0), bed.reference.repeat_interleave(GOALS, 0))


def comparisons(records: Sequence[Preference]) -> lab.Comparisons:
    """Records as comparisons between prompts with goals, or between plain prompts."""
    rows = []
    for r in records:
        goals = [int(about["goal"]) for about in told(r)]
        x = int(r.prompt[-1].text)
        at = x * GOALS + goals[-1] - 1 if goals else x
        rows.append((at, int(r.response_text(0)), int(r.response_text(1))))
    prompt, winner, loser = torch.tensor(rows).unbind(-1)
    return lab.Comparisons(prompt, winner, loser, torch.zeros(len(rows), dtype=torch.bool))


def run_one(arm: str, config: Mapping[str, Any], seed: int, smoke: bool) -> Mapping[str, float]:
    """One seed of one arm: exact gold against exact KL over the length of training; RA-DPO is asked for a 10."""
    key = Seed(seed).child("catalogue")
    bed = lab.finite(key, prompts=4, responses=16) if smoke else lab.finite(key)
    records = scored(bed, lab.compare(bed, 32 if smoke else PAIRS, key))
    asked, data = (conditional(bed), reward_augmented(records, 1, GOALS)) if arm == "ra-dpo" else (bed, records)
    points = []
    for rounds in ROUNDS[:3] if smoke else ROUNDS:
        recipe = lab.offline(asked, comparisons(data), dpo(config["beta"]), LR, 2 if smoke else rounds)
        run(recipe)
        with torch.no_grad():
            logp = only(recipe.snapshots).module().log_softmax(-1).view(len(bed.gold), -1, bed.gold.shape[1])[:, -1]
        points.append((float(reverse_kl(logp, bed.reference).mean()), float(exact.expected(logp, bed.gold).mean())))
    return frontier_metrics([(max(0.0, kl), gold) for kl, gold in points], bed.start, KL_LIMIT)


METHOD = Method(
    slug="ra-dpo",
    card=21,
    title="Reward-Augmented Data Enhances Direct Preference Alignment of LLMs",
    paper="Zhang et al. 2024, arXiv 2410.08067",
    family="direct",
    essence=(
        "Every scored pair is learned twice, asked for the chosen's score and for the rejected's, which swaps the "
        "sides; afterwards the policy is asked for the best score."
    ),
    composition="reward_augmented(records), then pairwise(scaled(beta, log_ratio()), logistic())",
    experiment=Experiment(
        slug="ra-dpo",
        claim=Claim(
            kind="effect",
            metric="area",
            baseline="dpo",
            smallest_effect=0.1,
            statement="More gold than DPO on the same pairs at equal KL, asked for a 10 (mean over KL up to 3 nats)",
        ),
        run=f"{__name__}:run_one",
        method="ra-dpo",
        grid={"beta": (0.03, 0.1, 0.3, 1.0)},
        reporting_seeds=REPORTING,
        sources=(
            "guerdon.data.conditioned",
            "guerdon.data.provenance",
            "guerdon.objectives.pairwise",
            "guerdon.objectives.scores",
            "guerdon.objectives.terms",
            "guerdon.lab.finite",
            "guerdon.lab.frontier",
        ),
        budget="512 pairs, 6 to 60 full-batch updates a point; 4 values of β searched for each arm",
    ),
    caveat="Scores are gold, rounded; DPO does not read them. The grid of β was widened after a pilot on tuning seeds.",
    checks=(
        "tests/data/test_conditioned.py::test_doubles_and_swaps",
        "tests/data/test_conditioned.py::test_contradictions_are_dropped",
        "tests/data/test_conditioned.py::test_without_the_condition_the_copies_pull_back_to_the_reference",
    ),
)
