"""GPM: a skew-symmetric preference model holds the cycles that a scalar reward cannot (card 158)."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from guerdon.batch import Seed
from guerdon.catalogue.method import Method
from guerdon.lab.protocol import Claim, Experiment
from guerdon.preferences import skew_score
from guerdon.rewards.models import GeneralPreferenceHead, LinearHead
from guerdon.training.general_preferences import fit_general_head
from guerdon.training.reward_models import fit_head

ITEMS, WIDE, CLASSES = 300, 16, 3


class Items(NamedTuple):
    """vectors [N,D]; preference P(row ≻ column) [N,N]: kind 0 ≻ 1 ≻ 2 ≻ 0, by quality in a kind; same: of one kind."""

    vectors: Tensor
    preference: Tensor
    same: Tensor


def items(seed: Seed, n: int = ITEMS) -> Items:
    """Kind and quality, mixed linearly into the vectors, with noise of a fifth of their size."""
    g = seed.child("items").torch()
    kind, quality = torch.randint(CLASSES, (n,), generator=g), torch.randn(n, generator=g)
    known = torch.cat([torch.eye(CLASSES)[kind], quality[:, None]], -1)
    vectors = known @ torch.randn(known.shape[1], WIDE, generator=g) + 0.2 * torch.randn(n, WIDE, generator=g)
    ahead = (kind[None] - kind[:, None]) % CLASSES  # 1: the row beats the column
    same = ahead == 0
    by_quality = torch.sigmoid(2 * (quality[:, None] - quality[None]))
    return Items(vectors, torch.where(same, by_quality, torch.where(ahead == 1, 0.9, 0.1)), same)


def pairs(preference: Tensor, n: int, seed: Seed) -> tuple[Tensor, Tensor]:
    """(winner, loser) int64 [n]: two items at random, labelled by their preference."""
    g = seed.child("pairs").torch()
    a = torch.randint(len(preference), (n,), generator=g)
    b = (a + torch.randint(1, len(preference), (n,), generator=g)) % len(preference)
    first = torch.rand(n, generator=g) < preference[a, b]
    return torch.where(first, a, b), torch.where(first, b, a)


def run_one(arm: str, config: Mapping[str, Any], seed: int, smoke: bool) -> Mapping[str, float]:
    """How often held-out pairs are ordered rightly: 'cyclic' between kinds, 'transitive' in one, 'accuracy' of both."""
    key = Seed(seed).child("gpm")
    whole = items(key, 40 if smoke else 2 * ITEMS)
    train, test = whole.vectors[0::2], whole.vectors[1::2]
    winner, loser = pairs(whole.preference[0::2, 0::2], 64 if smoke else 1000, key)
    decay, steps = config["weight_decay"], 10 if smoke else 300
    if arm == "gpm":
        general = GeneralPreferenceHead(WIDE, config["blocks"], seed=key)
        fit_general_head(general, train[winner], train[loser], weight_decay=decay, steps=steps)
        v = general(test).detach()
        said = skew_score(v[:, None], v[None])
    else:
        scalar = LinearHead(WIDE)
        fit_head(scalar, train[winner], train[loser], weight_decay=decay, steps=steps)
        r = scalar(test)[:, 0].detach()
        said = r[:, None] - r[None]
    likelier, same = whole.preference[1::2, 1::2] > 0.5, whole.same[1::2, 1::2]
    apart = ~torch.eye(len(test), dtype=torch.bool)
    right = ((said > 0) == likelier) & apart
    return {
        "cyclic": float(right[~same].float().mean()),
        "transitive": float(right[same & apart].float().mean()),
        "accuracy": float(right[apart].float().mean()),
    }


METHOD = Method(
    slug="gpm",
    card=158,
    title="General Preference Modeling with Preference Representations for Aligning Language Models",
    paper="Zhang et al. 2024, arXiv 2410.02197",
    family="direct",
    essence=(
        "Responses are embedded and compared by a skew-symmetric form: K responses cost K embeddings, and preferences "
        "may run in circles. GPO then regresses the policy's log-ratio on the mean score."
    ),
    composition="bradley_terry(skew_score(head(x_w), head(x_l)), 0); gpo(beta) on lists of mean_skew_score",
    experiment=Experiment(
        slug="gpm",
        claim=Claim(
            kind="effect",
            metric="cyclic",
            baseline="bradley_terry",
            smallest_effect=0.3,
            statement="Orders held-out pairs of a cycle of three kinds rightly 0.3 more often than Bradley–Terry",
        ),
        run=f"{__name__}:run_one",
        method="gpm",
        grid={"weight_decay": (0.01, 0.1, 1.0)},
        settings={"gpm": {"blocks": 2}},
        tuned_on="accuracy",
        reporting_seeds=tuple(range(10, 26)),
        sources=(
            "guerdon.preferences.general",
            "guerdon.preferences.bradley_terry",
            "guerdon.rewards.models.general",
            "guerdon.training.general_preferences",
        ),
        budget="1,000 labelled pairs of 300 items; linear heads on the same vectors, 3 weight decays for each arm",
    ),
    caveat=(
        "Items are vectors in which kind and quality are linear, so that a linear head can hold the whole preference; "
        "pairs of one kind are transitive, and both arms order those. The policy's side (GPO) is not part of it."
    ),
    checks=(
        "tests/preferences/test_general.py::test_antisymmetric_to_the_bit",
        "tests/preferences/test_general.py::test_by_hand",
        "tests/preferences/test_general.py::test_three_angles_are_a_cycle",
        "tests/rewards/test_general_preferences.py::test_from_frozen_embeddings_to_a_reward",
    ),
)
