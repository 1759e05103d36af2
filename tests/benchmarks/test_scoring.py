"""The benchmark of scoring: both arms score the same rows alike, and its page reads what run gives."""

from pathlib import Path
from typing import Any

import pytest

from benchmarks import models, scoring

PAIRS = [
    {"prompt": f"\n\nHuman: {q}\n\nAssistant:", "chosen": f" {a} indeed.", "rejected": f" I do not know {a}."}
    for q, a in (
        ("who sat", "the cat"),
        ("what is it and why is it so", "a dog"),
        ("how", "very well"),
        ("where", "at"),
    )
]


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """The folder of the benchmark's model, its tokenizer trained on a few made-up pairs."""
    monkeypatch.setattr(models, "pairs", lambda: PAIRS)
    models.tokenizer.cache_clear()
    scoring.write_model(str(tmp_path))
    models.tokenizer.cache_clear()
    return str(tmp_path)


@pytest.mark.parametrize("kind", ["pairs", "best of 16"])
def test_both_arms_score_alike(kind: str, small: str) -> None:
    settings = {"folder": small, "kind": kind, "count": 3, "repeats": 1, "dtype": "float32"}
    mine, theirs = scoring.ours(settings), scoring.peer(settings)
    assert mine["rows"] == theirs["rows"] == len(mine["scores"]) == {"pairs": 6, "best of 16": 48}[kind]
    assert max(theirs["scores"]) - min(theirs["scores"]) > 0.1  # else nothing here could fail
    assert scoring._largest(theirs, mine) < 1e-4
    assert mine["tokens"] >= mine["rows"]


def test_the_parts_and_the_ensemble_are_timed(small: str) -> None:
    settings = {"folder": small, "kind": "pairs", "count": 2, "repeats": 1, "dtype": "float32"}
    assert len(scoring.steps(settings)) == 4 and set(scoring.ensemble(settings)) == {"one", "many"}


def test_the_page_compares_the_fastest_float32_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    ran = []

    def arm(call: str, settings: dict[str, Any], *, threads: int) -> dict[str, Any]:
        name = call.split(":")[1]
        ran.append((name, settings["kind"], settings["count"], settings["dtype"], threads))
        if name == "steps":
            return {"tokenising": 0.1}
        if name == "ensemble":
            return {"one": 1.0, "many": 1.1}
        half = settings["dtype"] == "bfloat16"
        seconds = (8.0 if name == "peer" else 2.0) / threads / (2 if half else 1)
        return {
            "rows": 10,
            "seconds": seconds,
            "scores": [0.5, 1.0 + 0.01 * half + 1e-6 * (name == "ours")],
        }

    monkeypatch.setattr(scoring, "fresh", arm)
    monkeypatch.setattr(scoring, "write_model", lambda folder: None)
    result = scoring.run(pairs=9, prompts=2, tried=4)
    assert ("peer", "pairs", 9, "float32", 2) in ran and ("ours", "best of 16", 2, "float32", 2) in ran
    assert "scores" not in result["sets"]["pairs"]["ours"]
    section = scoring.page(result)
    ratios = {r.what: r for r in section.ratios}
    assert ratios["pairs: rows a second over the peer's"].value == 4.0
    assert ratios["pairs: largest difference of a score"].value == pytest.approx(1e-6)
    assert ratios["8 members' time over one's"].value == pytest.approx(1.1)
    assert all(r.holds for r in section.ratios)
