"""Curry-DPO: several pairs a prompt, from the widest gap to the narrowest, the reference moving on with every stage
(card 183)."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch

from guerdon.batch import Message, Preference, Seed
from guerdon.catalogue.direct.exact import Point, exact_frontier
from guerdon.catalogue.method import REPORTING, Method
from guerdon.data import curriculum
from guerdon.lab import finite as lab
from guerdon.lab.protocol import Claim, Experiment
from guerdon.objectives import dpo
from guerdon.training import Recipe, Recorded
from guerdon.worlds import CopyEvery, Snapshots
from guerdon.worlds.finite import LinearPolicy

KL_LIMIT = 3.0
RESPONSES, STAGES, AT_ONCE, LR = 4, 3, 16, 0.05
PROMPTS = (16, 48, 112, 240)
"""How many ranked prompts a point learns from, three pairs each: the length of training."""


def rated(bed: lab.Finite, count: int, seed: Seed) -> list[Preference]:
    """Records of four responses with scores: gold and the noise of a judge."""
    g = seed.child("rated").torch()
    prompts = torch.randint(len(bed.gold), (count,), generator=g)
    drawn = torch.multinomial(bed.reference[prompts].exp(), RESPONSES, generator=g)
    scores = bed.gold[prompts[:, None], drawn] + torch.randn(count, RESPONSES, generator=g)
    return [
        Preference(
            (Message.of("user", str(x)),), tuple((Message.of("assistant", str(y)),) for y in ys), scores=tuple(s)
        )
        for x, ys, s in zip(prompts.tolist(), drawn.tolist(), scores.tolist(), strict=True)
    ]


def staged(bed: lab.Finite, records: list[Preference], beta: float, refreshed: bool, ordered: bool) -> Recipe:
    """One pass over the pairs of the curriculum, in its order or shuffled."""
    rows = [
        [int(text) for text in (r.prompt_text, r.response_text(0), r.response_text(1))] for r in curriculum(records)
    ]
    prompt, winner, loser = torch.tensor(rows).unbind(-1)
    pairs = lab.Comparisons(prompt, winner, loser, torch.zeros(len(rows), dtype=torch.bool))
    updates = -(-len(rows) // AT_ONCE)
    recipe = lab.offline(bed, pairs, dpo(beta), LR, updates, AT_ONCE)
    assert isinstance(recipe.source, Recorded)
    if ordered:
        recipe = recipe.with_(source=replace(recipe.source, seed=None))
    if refreshed:
        rule = CopyEvery(max(1, -(-updates // STAGES)))
        recipe = recipe.with_(snapshots=Snapshots(LinearPolicy(bed.features, base=bed.reference), reference=rule))
    return recipe


def run_one(arm: str, config: Mapping[str, Any], seed: int, smoke: bool) -> Mapping[str, float]:
    """One seed of one arm: exact gold against exact KL to the *start* over the number of ranked prompts."""
    key, curry = Seed(seed).child("catalogue", "curry"), arm == "curry-dpo"

    def point(count: int) -> Point:
        return lambda bed, _: staged(bed, rated(bed, count, key), config["beta"], curry, curry)

    return exact_frontier([point(count) for count in PROMPTS], seed, KL_LIMIT, smoke=smoke)


METHOD = Method(
    slug="curry-dpo",
    card=183,
    title="Curry-DPO: Enhancing Alignment using Curriculum Learning & Ranked Preferences",
    paper="Pattnaik et al. 2024, arXiv 2403.07230",
    family="direct",
    essence=(
        "Four ranked responses give three pairs with the best one; training goes from the widest gap to the narrowest, "
        "and every stage takes the last one's policy as reference."
    ),
    composition="curriculum(records), then pairwise(scaled(beta, log_ratio()), logistic()) with CopyEvery(updates / 3)",
    experiment=Experiment(
        slug="curry-dpo",
        claim=Claim(
            kind="effect",
            metric="area",
            baseline="pooled",
            smallest_effect=0.1,
            statement=(
                "More gold than DPO on the same pairs, shuffled, with one reference, at equal KL to the start (mean "
                "over KL up to 3 nats)"
            ),
        ),
        run=f"{__name__}:run_one",
        method="curry-dpo",
        grid={"beta": (0.1, 0.3, 1.0, 3.0)},
        reporting_seeds=REPORTING,
        sources=(
            "guerdon.catalogue.direct.exact",
            "guerdon.data.curriculum",
            "guerdon.data.provenance",
            "guerdon.objectives.pairwise",
            "guerdon.objectives.scores",
            "guerdon.objectives.terms",
            "guerdon.lab.finite",
            "guerdon.lab.frontier",
        ),
        budget="16 to 240 prompts of 4 responses, 3 pairs each, seen once, 16 a batch; 4 values of β for each arm",
    ),
    caveat=(
        "Scores are gold with the noise of a judge of one unit. Refreshing the reference lets a policy go further from "
        "the start, which is why KL is measured to the start for both arms. One learning rate, constant over stages. "
        "The grid of β was widened after a pilot on tuning seeds."
    ),
    checks=(
        "tests/data/test_curriculum.py::test_four_ranks_give_three_stages",
        "tests/data/test_curriculum.py::test_gaps_never_grow_within_a_prompt_or_within_a_stage",
        "tests/data/test_curriculum.py::test_two_responses_are_the_pair_once",
        "tests/training/test_data_methods.py::test_a_stage_starts_at_log_2_where_the_reference_is_refreshed",
    ),
)
