"""SRPO: the solution does not depend on where the compared responses came from (card 149)."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from guerdon.batch import Lists, Pairs, Samples, Seed
from guerdon.catalogue.method import Method
from guerdon.lab.protocol import Claim, Experiment
from guerdon.objectives import ipo_sum, srpo
from guerdon.training.optim import Optim
from guerdon.training.recipe import Recipe
from guerdon.training.run import run
from guerdon.training.sources import Recorded
from guerdon.worlds import Frozen, Snapshots
from guerdon.worlds.finite import FiniteRows, FiniteWorld, TabularPolicy, exact

Y = 4


def game(seed: Seed) -> tuple[Tensor, Tensor, Tensor]:
    """(P(row ≻ column) [Y,Y]; the reference's logits [1+Y,Y]: an answer, or a better one than y; two behaviours)."""
    g = seed.child("game").torch()
    upper, order = torch.randn(Y, Y, generator=g).triu(1), torch.randn(Y, generator=g)
    behaviours = torch.randn(2, Y, generator=g).softmax(-1)
    logits = upper - upper.T + order[:, None] - order[None]
    return logits.sigmoid(), torch.randn(1 + Y, Y, generator=g), behaviours


def trained(arm: str, strength: float, table: Tensor, start: Tensor, behaviour: Tensor, rounds: int) -> Tensor:
    """log π [1+Y,Y] after all ordered pairs, weighted by how often the behaviour draws and labels them so."""
    w, l = (~torch.eye(Y, dtype=torch.bool)).nonzero().T
    weight = behaviour[w] * behaviour[l] * table[w, l]
    if arm == "srpo":
        prompt = torch.stack([0 * w, 0 * l, 1 + l, 1 + l, 1 + w, 1 + w], -1).flatten()
        response = torch.stack([w, l, w, l, w, l], -1).flatten()
        held: dict[str, Any] = {"lists": Lists(torch.arange(6 * len(w)).view(-1, 6), weight=weight)}
        objective = srpo(strength)
    else:
        prompt, response = torch.zeros(2 * len(w), dtype=torch.int64), torch.cat([w, l])
        held, objective = (
            {"pairs": Pairs(torch.arange(len(w)), torch.arange(len(w)) + len(w), weight=weight)},
            ipo_sum(strength),
        )
    samples = Samples(FiniteRows(prompt, response), prompt.tolist(), response.tolist())
    snapshots = Snapshots(TabularPolicy(start), reference=Frozen())
    world, source = FiniteWorld(), Recorded(samples, len(w), **held, seed=None)
    run(Recipe(world, snapshots, source, objective, Optim(0.1, kind="adam", clip=None, schedule="cosine"), rounds))
    with torch.no_grad():
        return world.log_probabilities(snapshots)


def run_one(arm: str, config: Mapping[str, Any], seed: int, smoke: bool) -> Mapping[str, float]:
    """'moved': total variation of what two behaviours teach over that to the reference; 'win_k': after k revisions."""
    table, start, behaviours = game(Seed(seed).child("srpo"))
    laws = [trained(arm, config["strength"], table, start, b, 5 if smoke else 200) for b in behaviours]
    reference = start.log_softmax(-1)[0]
    (a, b), base = (law[0].exp() for law in laws), reference.exp()
    moved = (a - b).abs().sum() / ((a - base).abs().sum() + (b - base).abs().sum()).div(2).clamp(min=1e-9)
    found = {"moved": float(moved)}
    for k in (0, 1, 3):
        wins = [
            exact.win_rate((law[0].exp() @ torch.linalg.matrix_power(law[1:].exp(), k)).log(), reference, table)
            for law in laws
        ]
        found[f"win_{k}"] = float(torch.stack(wins).mean())
    return found


METHOD = Method(
    slug="srpo",
    card=149,
    title="Self-Improving Robust Preference Optimization",
    paper="Choi et al. 2024, arXiv 2406.01660",
    family="direct",
    essence=(
        "A generator plays against an improver that rewrites its answers; both have closed forms, which give squared "
        "losses on pairs for one model that answers and revises, with one solution wherever the pairs came from."
    ),
    composition="(1 - alpha) * listwise(log_ratio(), generator(beta)) + alpha * listwise(log_ratio(), improver(beta))",
    experiment=Experiment(
        slug="srpo",
        claim=Claim(
            kind="effect",
            metric="moved",
            direction="lower",
            baseline="ipo",
            smallest_effect=0.1,
            statement=(
                "The answers learned under two behaviour distributions differ by at least 0.1 less than IPO's (total "
                "variation over that to the reference)"
            ),
        ),
        run=f"{__name__}:run_one",
        method="srpo",
        grid={"strength": (0.3, 1.0)},
        reporting_seeds=tuple(range(10, 22)),
        sources=(
            "guerdon.objectives.srpo",
            "guerdon.objectives.listwise",
            "guerdon.objectives.pairwise",
            "guerdon.objectives.scores",
            "guerdon.objectives.terms",
            "guerdon.worlds.finite",
        ),
        budget="random preferences over 4 responses, exact label frequencies; β of SRPO and τ of IPO searched alike",
    ),
    caveat=(
        "Tabular: the improver has parameters of its own for every previous answer, so that both losses can reach 0. "
        "The paper's gains over revisions of language models are not measured; 'win_k' has the tabular ones."
    ),
    checks=(
        "tests/objectives/test_srpo.py::test_card_values",
        "tests/objectives/test_srpo.py::test_both_identities_hold_at_the_closed_forms",
        "tests/objectives/test_srpo.py::test_the_answer_minimises_what_an_improver_can_gain",
        "tests/decoding/test_revision.py::test_every_revision_improves_the_answer_before_it",
    ),
)
