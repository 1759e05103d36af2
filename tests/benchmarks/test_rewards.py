"""The benchmark of fitting a reward model: both arms begin with the same loss, and its page reads what run gives."""

from pathlib import Path
from typing import Any

import pytest

from benchmarks import models, rewards

PAIRS = [
    {"prompt": f"\n\nHuman: {'who sat ' * (i % 3 + 1)}\n\nAssistant:", "chosen": f" the cat {i}.", "rejected": " I" * i}
    for i in range(1, 18)
]


def test_both_arms_begin_with_the_same_loss(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("trl")
    monkeypatch.setattr(models, "pairs", lambda: PAIRS)
    models.tokenizer.cache_clear()
    rewards.write_model(str(tmp_path))
    rewards.write_data(str(tmp_path), 16, 1)
    models.tokenizer.cache_clear()
    settings = {"folder": str(tmp_path), "pairs": 16, "held_out": 1, "seed": 0}
    peer = {"micro": 4, "grouped": False, "bf16": False, "ordered": True}
    mine, theirs = rewards.ours({**settings, "bf16": False}), rewards.trl({**settings, **peer})
    assert len(mine["losses"]) == len(theirs["losses"]) == 1
    assert mine["losses"][0] == pytest.approx(theirs["losses"][0], abs=1e-5)
    assert mine["held_out"] == pytest.approx(theirs["held_out"], abs=1e-3)  # after one update of equal gradients
    assert set(rewards.trl({**settings, **peer, "ordered": False, "grouped": True})) == set(mine)


def test_the_page_compares_the_fastest_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    ran = []

    def arm(call: str, settings: dict[str, Any], *, threads: int) -> dict[str, Any]:
        name = call.split(":")[1]
        ran.append((name, settings["pairs"], settings.get("micro"), settings.get("grouped"), threads))
        slow = 1.0 if name == "ours" else 4.0 + abs(settings["micro"] - 4) - settings["grouped"]
        seconds = slow * settings["pairs"] / threads
        losses = [0.7 if name == "ours" else 0.70001]
        told = {"seconds": seconds, "cpu_seconds": seconds, "pairs_a_second": settings["pairs"] / seconds}
        return {**told, "memory_mb": seconds, "losses": losses, "held_out": {"accuracy": 0.5, "loss": 0.7}}

    monkeypatch.setattr(rewards, "fresh", arm)
    monkeypatch.setattr(rewards, "write_model", lambda folder: None)
    monkeypatch.setattr(rewards, "write_data", lambda *_: None)
    result = rewards.run(pairs=9, held_out=2, tried=4)
    assert ("trl", 9, 4, True, 2) in ran and ("ours", 9, None, None, 2) in ran
    assert len(result["sweep"]) == 6  # three micro-batches, then one more choice at a time
    section = rewards.page(result)
    assert [round(r.value, 6) for r in section.ratios] == [3.0, 1e-05]
    assert "| 4 | True | 2 | False |" in section.text
