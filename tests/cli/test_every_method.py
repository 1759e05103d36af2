"""``align --method NAME`` for every method of the table: twenty updates on real preferences of the kind it reads."""

from __future__ import annotations

import gzip
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

import guerdon
from guerdon.batch import Message, Preference
from guerdon.rewards import reward
from guerdon.training import methods
from tests.cli.conftest import save_llama

pytestmark = pytest.mark.data

UPDATES, AT_ONCE, LONGEST = 20, 4, 120
"""Responses are at most so many bytes, so that one of the byte-level model's contexts holds them."""
SETTINGS = {"batch": AT_ONCE, "rounds": UPDATES, "held_out": 0.0, "samples": 0, "sampling.limit": 8, "optim.lr": 1e-3}


@reward
def short(responses: Sequence[str]) -> list[float]:
    """Shorter is better, on the scale of a judge's points."""
    return [8.0 - len(text) for text in responses]


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama of one layer, with room for a rewriting."""
    return save_llama(tmp_path_factory.mktemp("policy"), 512)


@pytest.fixture(scope="module")
def data(guerdon_data: Callable[[str], Path]) -> dict[str, list[Preference]]:
    """Real records of every kind: pairs of dialogues, rated paraphrases, several solutions of a problem, judged
    answers."""
    pairs = guerdon.read(guerdon_data("hh_rlhf/harmless-base/test.jsonl.gz"), on_error="skip")
    short_pairs = [r for r in pairs if all(len(r.response_text(i)) <= LONGEST for i in (0, 1))][:32]
    return {
        "pairs": short_pairs,
        "rewritten": short_pairs,
        "prompts": short_pairs,
        "scored": _paraphrases(guerdon_data("contrast_instructions/human_preferences/twitter/dev.json.gz")),
        "lists": _solutions(guerdon_data("gsm8k/example_model_solutions.jsonl.gz")),
        "unpaired": _answers(guerdon_data("tool_augmented_rm/truthful_qa/agent_truthful_qa_test_1500-3000.json.gz")),
    }


def _answer(text: str) -> tuple[Message, ...]:
    return (Message.of("assistant", text),)


def _paraphrases(file: Path) -> list[Preference]:
    """Pairs whose sides carry different scores."""
    records = [r for r in guerdon.read(file, on_error="skip") if r.scores is not None and r.comparisons]
    return [r for r in records if len(set(r.scores or ())) == 2][:32]


def _solutions(file: Path) -> list[Preference]:
    """Four solutions of a problem, each worth 1 where its answer is right, the later ones a little less."""
    out = []
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        for line in lines:
            record = json.loads(line)
            texts = [v["solution"][-LONGEST:] for v in record.values() if isinstance(v, dict)]
            right = [bool(v["is_correct"]) for v in record.values() if isinstance(v, dict)]
            scores = tuple(float(ok) - i / 100 for i, ok in enumerate(right))
            if len(texts) == 4 and any(right) and not all(right):
                prompt = (Message.of("user", record["question"][:LONGEST]),)
                out.append(Preference(prompt, tuple(map(_answer, texts)), scores=scores))
            if len(out) == 32:
                return out
    raise AssertionError("too few problems with right and wrong solutions")


def _answers(file: Path) -> list[Preference]:
    """Single answers that people judged to be true or false."""
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        records = [json.loads(line) for line in lines]
    return [
        Preference((Message.of("user", r["question"]),), (_answer(r["answer"]),), labels=(r["label"] == 1,))
        for r in records
        if len(r["answer"]) <= LONGEST
    ][:32]


@pytest.fixture(scope="module")
def guide(policy: Path, data: dict[str, list[Preference]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A policy that DPO aligned before."""
    out = tmp_path_factory.mktemp("guide") / "run"
    guerdon.align(data["pairs"], policy, "dpo", out=out, **SETTINGS)
    return out / "policy"


@pytest.mark.parametrize("name", methods.names())
def test_it_runs_on_real_preferences(
    name: str, policy: Path, data: dict[str, list[Preference]], request: pytest.FixtureRequest
) -> None:
    preset = methods.find(name)
    more = {"guide": str(request.getfixturevalue("guide"))} if "guide" in preset.needs else {}
    given = short if "reward" in preset.needs else None
    done = guerdon.align(data[preset.reads], policy, name, reward=given, **SETTINGS, **more)
    assert len(done.history) == UPDATES and sum(r["updates"] for r in done.history) >= UPDATES // 4
    assert all(math.isfinite(r["loss"]) for r in done.history if "loss" in r)
    assert float(done.summary["after"]["KL to the start (nats a response)"]) > 0
