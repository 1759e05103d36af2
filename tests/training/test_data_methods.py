"""Builds, estimators and stages of the methods that are mostly data (cards 159, 161, 175, 183)."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch

from guerdon.batch import Batch, Channel, Lists, Preference, Samples, Scores, Seed, TokenRows
from guerdon.errors import GuerdonError
from guerdon.lab import finite as lab
from guerdon.objectives import dpo
from guerdon.rewards import reward
from guerdon.training import Optim, Prompts, Recorded, Rollout, methods, run
from guerdon.training.graded import graded_lists
from guerdon.training.methods.data import refreshed
from guerdon.training.mixed import easy_pairs, mixed_po, word_gap
from guerdon.training.rejection import rejected_pairs
from guerdon.training.steps import counts, lexical_steps, line_steps, with_lines
from guerdon.worlds import CopyEvery, Snapshots
from guerdon.worlds.finite import LinearPolicy, lookup


def rollout(values: list[float], prompts: list[str]) -> Rollout:
    samples = Samples(torch.arange(len(values)), prompts)
    return Rollout(samples, scores=Scores({"reward": Channel(torch.tensor(values))}), seed=Seed(5))


def test_rejected_pairs() -> None:
    """Two prompts of three: two are kept of each, β = 0 the best ones, and the higher reward wins."""
    round = rollout([1.0, 3.0, 2.0, 0.0, -1.0, 5.0], ["a", "a", "a", "b", "b", "b"])
    batch = Batch(columns={"at": torch.arange(6)})
    (made,) = rejected_pairs(keep=2, temperature=0.0)(batch, round)
    assert made.columns["at"].tolist() == [1, 2, 3, 5]
    assert made.pairs is not None
    assert made.columns["at"][made.pairs.winner].tolist() == [1, 5]
    assert made.columns["at"][made.pairs.loser].tolist() == [2, 3]
    (whole,) = rejected_pairs(keep=8, pairing="tournament")(batch, round)
    assert whole.pairs is not None and len(whole.pairs) == 4
    (again,) = rejected_pairs(keep=8, pairing="tournament")(batch, round)
    assert again.pairs is not None and torch.equal(again.pairs.winner, whole.pairs.winner)


def test_prompts_that_cannot_be_compared_give_no_pair() -> None:
    (made,) = rejected_pairs()(Batch(columns={"at": torch.arange(3)}), rollout([1.0, 2.0, 2.0], ["a", "b", "b"]))
    assert made.pairs is not None and len(made.pairs) == 0
    with pytest.raises(GuerdonError, match="keep ≥ 2"):
        rejected_pairs(keep=1)


class Letters:
    """A tokenizer whose ids are places in a string."""

    def decode(self, ids: list[int]) -> str:
        return "ab\n +="[ids[0]]


def lines(*texts: str) -> TokenRows:
    """A prompt token, then the response; padded on the right."""
    width = 1 + max(map(len, texts))
    ids = torch.tensor([[0, *("ab\n +=".index(c) for c in t), *[0] * (width - 1 - len(t))] for t in texts])
    live = torch.tensor([[0 < i <= len(t) for i in range(width)] for t in texts])
    attention = live | (torch.arange(width) == 0)
    return TokenRows(ids, attention, live)


def test_lines_are_steps() -> None:
    """A blank line belongs to the one before it; prompt and padding to none."""
    found = line_steps(lines("a=b\n\nab", "b"), Letters())
    assert found.tolist() == [[-1, 0, 0, 0, 0, 0, 1, 1], [-1, 0, -1, -1, -1, -1, -1, -1]]


def test_embeddings_count_tokens_whatever_their_order() -> None:
    rows = with_lines(lines("ab\nba\n=", "a"), Letters())
    first, second = counts(rows, width=64)
    assert first.shape == (3, 64) and second.shape == (1, 64)
    same = torch.nn.functional.cosine_similarity(first[0], first[1], dim=0)
    assert same.item() == pytest.approx(1.0, abs=1e-6)
    assert first[2] @ second[0] == 0  # '=' and 'a' share nothing


def test_given_embeddings_are_left_alone() -> None:
    given = [torch.ones(1, 2), torch.zeros(1, 2)]
    samples = Samples(lines("a", "b"), ["p", "p"], columns={"step_embeddings": given})
    assert lexical_steps()(Rollout(samples)).columns["step_embeddings"] is not None
    with pytest.raises(GuerdonError, match="spans 'step'"):
        lexical_steps()(Rollout(Samples(lines("a", "b"), ["p", "p"])))


def test_a_graded_list_is_a_pair_and_its_copies() -> None:
    lists = Lists(torch.tensor([[0, 1, 2, 3], [4, 5, 6, -1]]), torch.zeros(2, 4), torch.tensor([1.0, 2.0]))
    (made,) = graded_lists()(Batch(columns={"at": torch.arange(7)}, lists=lists), rollout([0.0] * 7, ["a"] * 7))
    assert made.pairs is not None and made.lists is not None
    assert (made.pairs.winner.tolist(), made.pairs.loser.tolist()) == ([0, 4], [1, 5])
    assert made.pairs.weights().tolist() == made.lists.weights().tolist() == [1.0, 2.0]
    assert made.lists.rows.tolist() == [[0, 2, 3], [4, 6, -1]]
    assert made.blocks()[:4].unique().numel() == 1  # the loser stays with its pair's copies


def test_a_preset_with_heads_needs_a_model() -> None:
    bed = lab.finite(Seed(3), prompts=4, responses=8)
    world, snapshots = bed.fresh()
    source = lab.offline(bed, lab.compare(bed, 8, Seed(3)), dpo()).source
    with pytest.raises(GuerdonError, match="FiniteWorld has no model"):
        methods.find("spo-degree").recipe(world, snapshots, source, 1)


def staged(rule: Any) -> list[float]:
    """The loss at the start of each of three stages of four updates."""
    bed = lab.finite(Seed(3), prompts=4, responses=8)
    recipe = lab.offline(bed, lab.compare(bed, 48, Seed(3)), dpo(0.5), rounds=12, at_once=4)
    assert isinstance(recipe.source, Recorded)
    snapshots = Snapshots(LinearPolicy(bed.features, base=bed.reference), reference=rule)
    history = run(recipe.with_(snapshots=snapshots, source=replace(recipe.source, seed=None))).history
    return [history[i]["loss"] for i in (0, 4, 8)]


def test_a_stage_starts_at_log_2_where_the_reference_is_refreshed() -> None:
    assert refreshed(3, 12) == {"reference": CopyEvery(4)}
    assert refreshed(3, 1) == {"reference": CopyEvery(1)}
    assert staged(refreshed(3, 12)["reference"]) == pytest.approx([math.log(2)] * 3, abs=1e-6)
    first, second, third = staged(refreshed(1, 13)["reference"])
    assert first == pytest.approx(math.log(2), abs=1e-6)
    assert abs(second - math.log(2)) > 1e-3 and abs(third - math.log(2)) > 1e-3


def stages(**left_out: None) -> tuple[lab.Finite, Any]:
    bed = lab.finite(Seed(3), prompts=4, responses=8)
    world, snapshots = bed.fresh()
    source = lab.offline(bed, lab.compare(bed, 32, Seed(3)), dpo()).source

    @reward
    def gold(samples: Samples) -> torch.Tensor:
        return lookup(bed.gold, samples)

    parts = {"easy": source, "hard": Prompts([0, 1], 2), **left_out}
    return bed, mixed_po(
        world,
        snapshots,
        parts["easy"],
        parts["hard"],
        gold,
        rounds=3,
        epochs=5,
        first={"optim": Optim(lr=0.05)},
        then={"track": ("steps.logp.reference",)},
    )


def test_the_second_stage_starts_and_is_anchored_where_the_first_ended() -> None:
    bed, (first, second) = stages()
    run(first)
    after = lab.evaluate(bed, first.snapshots)
    assert after["kl"] > 1e-4
    history = run(second).history
    assert history[0]["objective/kl"] == pytest.approx(0.0, abs=1e-6)
    with second.snapshots.using("reference") as module:
        kept = module().detach()
    assert not torch.allclose(kept, bed.reference, atol=1e-3)


def test_a_stage_may_be_left_out() -> None:
    """γ = −∞: plain DPO alone; γ = +∞: the online method from the start policy alone."""
    _, only = stages(hard=None)
    assert len(only) == 1 and only[0].reward is None
    _, only = stages(easy=None)
    assert len(only) == 1 and only[0].reward is not None
    with pytest.raises(GuerdonError, match="both are left out"):
        stages(easy=None, hard=None)


def test_the_gap_of_a_small_reward_finds_wrong_labels() -> None:
    """'good' wins everywhere but in every fifth record: those are not among the easy ones."""
    records = []
    for i in range(40):
        sides = ("a good answer", "a poor answer")
        records.append(Preference.pair(f"question {i}", *(sides if i % 5 else sides[::-1])))
    gap = word_gap(records[:20])
    assert gap(records[21]) > 0 > gap(records[20])
    easy = easy_pairs(records, threshold=0.0)
    assert len(easy) == 32 and all("good" in r.response_text(0) for r in easy)


def test_the_presets_know_their_papers_defaults() -> None:
    defaults = {
        "pl-dpo": {"beta": 0.1},
        "lipo": {"beta": 0.05, "kind": "lambda"},
        "tpo-tree": {"beta": 0.5, "adaptive": True},
        "curry-dpo": {"beta": 0.1, "stages": 3, "order": "easy"},
        "rso": {"beta": 0.05, "temperature": 0.5, "keep": 8},
        "rso-online": {"beta": 0.05, "temperature": 0.5, "keep": 8},
        "ra-dpo": {"beta": 0.01, "smoothing": 0.3},
        "modpo": {"beta": 0.1, "weight": 0.5},
        "spo-degree": {"beta": 0.1, "gamma": 0.5, "degrees": 3},
        "mixed-po": {"beta": 0.1, "folds": 2},
    }
    for name, own in defaults.items():
        assert own.items() <= methods.find(name).hyper().items()
