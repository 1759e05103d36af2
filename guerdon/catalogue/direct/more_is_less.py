"""More is Less: pairs of two writers are told apart by style, and DPO learns the style (card 167)."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from guerdon.audit import decided_pairs, separability
from guerdon.audit.features import DenseRows
from guerdon.batch import Message, Preference, Seed
from guerdon.catalogue.method import REPORTING, Method
from guerdon.data.pair_policies import pair_policies, pooled
from guerdon.lab import finite as lab
from guerdon.lab.finite_online import styled
from guerdon.lab.frontier import frontier_metrics
from guerdon.lab.protocol import Claim, Experiment
from guerdon.objectives import dpo
from guerdon.training.run import run

KL_LIMIT = 2.0
BETAS = (0.1, 0.3, 1.0, 3.0)


def written(bed: lab.Finite, law: Tensor, n: int, each: int, seed: Seed) -> list[Preference]:
    """``n`` records of ``each`` responses by a law [X,Y], texts 'x y', scored by gold plus N(0, 1): a reward model that
    errs."""
    g = seed.torch()
    prompt = torch.arange(n) % len(law)
    drawn = torch.multinomial(law[prompt].exp(), each, generator=g)
    score = bed.gold[prompt[:, None], drawn] + torch.randn(drawn.shape, generator=g)
    return [
        Preference(
            (Message.of("user", f"{x} #{i}"),),
            tuple((Message.of("assistant", f"{x} {y}"),) for y in ys),
            scores=tuple(values),
        )
        for i, (x, ys, values) in enumerate(zip(prompt.tolist(), drawn.tolist(), score.tolist(), strict=True))
    ]


def run_one(arm: str, config: Mapping[str, Any], seed: int, smoke: bool) -> Mapping[str, float]:
    """One seed of one policy of making pairs: separability of its pairs, and DPO's gold against KL over β."""
    key = Seed(seed).child("catalogue")
    plain = lab.finite(key, prompts=4, responses=16) if smoke else lab.finite(key)
    bed, strong = styled(plain, key)
    n = 64 if smoke else 512
    pool = pooled(
        {
            "self": written(bed, bed.reference, n, 4, key.child("self")),
            "strong": written(bed, strong, n, 1, key.child("strong")),
        }
    )
    pairs = decided_pairs(pair_policies()[arm](pool))
    at = torch.tensor([[int(word) for word in text.split()] for text in pairs.texts])
    rows = DenseRows(bed.features[at[:, 0], at[:, 1]])
    winner, loser = at[pairs.winner], at[pairs.loser]
    compared = lab.Comparisons(winner[:, 0], winner[:, 1], loser[:, 1], torch.zeros(len(pairs), dtype=torch.bool))
    found, losses = [], []
    for beta in BETAS[:3] if smoke else BETAS:
        recipe = lab.offline(bed, compared, dpo(beta), rounds=2 if smoke else 100)
        losses.append(run(recipe).history[-1]["loss"])
        found.append(lab.evaluate(bed, recipe.snapshots))
    shown = {f"{k}@{b:g}": p[k] for b, p in zip(BETAS, found, strict=False) for k in ("gold", "kl")}
    auc = separability(pairs, rows=rows).auc.estimate
    told = {"auc": auc, "pairs": float(len(pairs)), "loss@0.1": losses[0], "start": bed.start}
    points = [(max(0.0, p["kl"]), p["gold"]) for p in found]
    return {**frontier_metrics(points, bed.start, KL_LIMIT), **told, **shown}


METHOD = Method(
    slug="more-is-less",
    card=167,
    title="More is Less: The Pitfalls of Multi-Model Synthetic Preference Data in DPO Safety Alignment",
    paper="Wang et al. 2025, arXiv 2504.02193",
    family="direct",
    essence=(
        "Where another model wrote the chosen side, its style separates the sides, the loss falls by style alone and "
        "safety is not learned; pairs of one's own responses ranked by a reward model do not have that short cut."
    ),
    composition="pair_policies()['self+rm'](pooled({...})); separability(decided_pairs(records))",
    experiment=Experiment(
        slug="more-is-less",
        claim=Claim(
            kind="effect",
            metric="area",
            baseline="stronger+self",
            smallest_effect=0.1,
            statement=(
                "DPO on pairs of the policy's own responses ranked by an erring reward model gains more gold at equal "
                "KL than on a stronger model's responses against its own (mean over KL up to 2 nats, in gold's units)"
            ),
        ),
        run=f"{__name__}:run_one",
        method="self+rm",
        reporting_seeds=REPORTING,
        sources=(
            "guerdon.data.pair_policies",
            "guerdon.audit.separability",
            "guerdon.audit.linear",
            "guerdon.objectives.pairwise",
            "guerdon.objectives.terms",
            "guerdon.lab.finite",
            "guerdon.lab.finite_online",
            "guerdon.lab.frontier",
        ),
        budget="512 prompts for both policies, 100 rounds, 4 values of β",
    ),
    caveat=(
        "The style is one feature that gold does not read; gold stands for safety; no language model is attacked. Both "
        "kinds of pairs are easy to separate here (AUC 0.92 and 0.96), and the loss falls further on one's own: the "
        "gain is shown, not that style alone makes the loss collapse."
    ),
    checks=(
        "tests/audit/test_markers.py::test_a_marker_token_separates_wholly_and_is_named",
        "tests/audit/test_markers.py::test_equal_sides_hold_no_marker_and_do_not_separate",
        "tests/data/test_pair_policies.py::test_each_policy_by_hand",
        "tests/audit/test_refusals.py::test_key_words_give_nought_and_one",
    ),
)
