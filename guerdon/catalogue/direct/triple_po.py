"""Triple PO: the best of three responses is cloned while the second is preferred to the worst, in one stage (card
172)."""

from collections.abc import Callable, Mapping
from typing import Any

import torch

from guerdon.batch import Lists, Pairs, Samples, Seed
from guerdon.catalogue.method import REPORTING, Method
from guerdon.lab import finite as lab
from guerdon.lab.frontier import frontier_metrics
from guerdon.lab.protocol import Claim, Experiment
from guerdon.objectives import Objective, dpo, sft, triple_po
from guerdon.training import Every, Optim, Recipe, Recorded, run
from guerdon.worlds import CopyEvery, Snapshots
from guerdon.worlds.finite import FiniteRows, FiniteWorld, LinearPolicy

KL_LIMIT = 0.8
TRIPLES, ROUNDS, NOISE, LOOK = 512, 60, 1.0, 2
TRIPLE = ((1.0, 1.0), (10.0, 1.0), (10.0, 0.5))
"""(β, weight of the cloning)."""
BETAS = (0.1, 0.3, 1.0)


def triples(bed: lab.Finite, n: int, key: Seed) -> tuple[Samples, torch.Tensor]:
    """Rows and their numbers [n,3]: three draws of the reference for a prompt, best first by gold and rating noise."""
    g = key.child("triples").torch()
    prompt = torch.randint(len(bed.gold), (n,), generator=g)
    drawn = torch.multinomial(bed.reference.exp()[prompt], 3, generator=g)
    said = bed.gold[prompt[:, None], drawn] + NOISE * torch.randn(n, 3, generator=g)
    response = drawn.gather(-1, said.argsort(-1, descending=True)).flatten()
    rows = FiniteRows(prompt.repeat_interleave(3), response)
    over = torch.ones(3 * n, dtype=torch.bool)
    samples = Samples(rows, rows.prompt.tolist(), response.tolist(), terminated=over, truncated=~over)
    return samples, torch.arange(3 * n).view(n, 3)


def run_one(arm: str, config: Mapping[str, Any], seed: int, smoke: bool) -> Mapping[str, float]:
    """One seed of one arm: exact gold against exact KL to the base along one run of as many updates."""
    key = Seed(seed).child("catalogue")
    bed = lab.finite(key, prompts=4, responses=16) if smoke else lab.finite(key)
    n, rounds = (32, 8) if smoke else (TRIPLES, ROUNDS)
    samples, at = triples(bed, n, key)
    policy, half = LinearPolicy(bed.features, base=bed.reference), rounds // 2
    objective: Objective | Callable[[int], Objective]
    if arm == "triple-po":
        objective, snapshots = triple_po(*TRIPLE[config["strength"]]), Snapshots(policy)
        source = Recorded(samples, n, lists=Lists(at, torch.tensor([[2.0, 1.0, 0.0]]).expand(n, 3)))
    else:
        clone, prefer = sft("winner"), dpo(BETAS[config["strength"]])
        objective = lambda step: clone if step < half else prefer  # noqa: E731
        snapshots = Snapshots(policy, reference=CopyEvery(half))
        source = Recorded(samples, n, Pairs(at[:, 0], at[:, 2]))
    look = Every(LOOK, lambda _: lab.evaluate(bed, snapshots))
    optim = Optim(lr=config["lr"], kind="adam", clip=None)
    recipe = Recipe(FiniteWorld(bed.features), snapshots, source, objective, optim, rounds, evals=(look,))
    seen = [(max(0.0, m["eval/kl"]), m["eval/gold"]) for m in run(recipe).history if "eval/kl" in m]
    last = {"kl": seen[-1][0], "gold": seen[-1][1]}
    return {**frontier_metrics(seen, bed.start, KL_LIMIT), "start": bed.start, **last}


METHOD = Method(
    slug="triple-po",
    card=172,
    title="Triple Preference Optimization: Achieving Better Alignment with Less Data in a Single Step Optimization",
    paper="Saeidi et al. 2024, arXiv 2405.16681",
    family="direct",
    essence=(
        "Of three rated responses the best is cloned and the second best preferred to the worst, in one stage from the "
        "base model and without a reference policy."
    ),
    composition="listwise(scaled(beta, total_logprob()), second_against_worst()) + weight * gold()",
    experiment=Experiment(
        slug="triple-po",
        claim=Claim(
            kind="effect",
            metric="area",
            baseline="sft then dpo",
            smallest_effect=0.1,
            statement=(
                "More gold at equal KL from the base than supervised learning and then DPO on the same triples, in as "
                "many updates (mean over KL up to 0.8 nats, in gold's units)"
            ),
        ),
        run=f"{__name__}:run_one",
        method="triple-po",
        grid={"lr": (0.02, 0.05), "strength": (0, 1, 2)},
        reporting_seeds=REPORTING,
        sources=(
            "guerdon.objectives.triples",
            "guerdon.objectives.listwise",
            "guerdon.objectives.pairwise",
            "guerdon.objectives.expectation",
            "guerdon.objectives.terms",
            "guerdon.lab.finite",
            "guerdon.lab.frontier",
        ),
        budget="512 triples rated with noise, 60 updates; 3 settings and 2 learning rates searched for each arm",
    ),
    caveat=(
        "Responses are single steps, so the sums of Triple PO and the means of TPO-L are one. The base already knows "
        "the task, whereas the paper starts from a pre-trained model that no SFT has seen; DPO learns from the best "
        "and the worst row. Cloning the best of three holds Triple PO near the base: 'kl' and 'gold' at the end of "
        "training are stored."
    ),
    checks=(
        "tests/objectives/test_triples.py::test_triple_by_hand",
        "tests/objectives/test_triples.py::test_without_the_gold_term_it_is_a_plain_pair",
        "tests/objectives/test_triples.py::test_a_list_of_two_is_cpo",
        "tests/objectives/test_triples.py::test_each_response_has_its_own_part",
        "tests/objectives/test_trl_free.py::test_triple_po_is_trls",
    ),
)
