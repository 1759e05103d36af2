"""Alignment on a real pretrained language model: preferences and a rule move it the way they ask."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

import guerdon
from guerdon.batch import Preference, Seed
from guerdon.rewards import reward
from guerdon.worlds import Sampling, Snapshots
from guerdon.worlds.text import TextWorld, load_policy
from tests.worlds.llama2c import converted_aidreams

pytestmark = pytest.mark.data
OPENINGS = ("I sense", "Echoes of", "The hum of", "A gentle", "In the", "Vectors unfold", "My surface", "As I")


@reward
def commas(responses: Sequence[str]) -> list[float]:
    """How many commas a response has."""
    return [float(text.count(",")) for text in responses]


@pytest.fixture(scope="module")
def model(guerdon_data: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    source = guerdon_data("models/aidreams260K")
    return converted_aidreams(source.parent.parent, tmp_path_factory.mktemp("aidreams"))


@pytest.fixture(scope="module")
def pairs(model: Path) -> list[Preference]:
    """Two samples of every opening; the one with more commas is preferred, ties are left out."""
    policy, tokenizer = load_policy(model)
    world = TextWorld(policy, tokenizer)
    drawn = world.sample(Snapshots(policy), OPENINGS, 16, Sampling(limit=32), Seed(0))
    told = list(zip(drawn.prompts, drawn.texts(), commas_in(drawn.texts()), strict=True))
    out = []
    for (prompt, a, n), (_, b, m) in zip(told[::2], told[1::2], strict=True):
        if n != m:
            out.append(Preference.pair(str(prompt), a if n > m else b, b if n > m else a))
    return out


def commas_in(texts: Sequence[str]) -> list[int]:
    return [text.count(",") for text in texts]


SETTINGS = {"sampling.limit": 32, "optim.lr": 1e-3, "held_out": 0.0, "batch": 16, "samples": 2}


def test_dpo_orders_the_pairs(model: Path, pairs: list[Preference]) -> None:
    assert len(pairs) > 10
    done = guerdon.align(pairs, model, "dpo", epochs=6, **SETTINGS)
    rows = {name: (before, after) for name, before, after in done.rows()}
    _, after = rows["pairs ordered rightly"]
    assert float(str(after)) > 0.9 and done.history[-1]["rewards/margins"] > done.history[0]["rewards/margins"]


def test_rloo_raises_a_rule(model: Path, pairs: list[Preference]) -> None:
    done = guerdon.align(pairs, model, "rloo", reward=commas, rounds=12, per_prompt=8, kl=0.0, **SETTINGS)
    rewards = [m["reward"] for m in done.history]
    assert sum(rewards[-3:]) / 3 > sum(rewards[:3]) / 3 + 0.5
