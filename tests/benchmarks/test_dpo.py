"""DPO beside TRL: the arms take turns, and are picked by speed within the bound of memory."""

from typing import Any

import pytest

from benchmarks import dpo


def test_run_and_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """With arms that only tell what they were asked; ours is fastest where it takes too much memory."""
    asked: list[tuple[str, dict[str, Any]]] = []

    def arm(name: str, settings: dict[str, Any]) -> dict[str, Any]:
        asked.append((name, dict(settings)))
        speed = (10.0 if name == "ours" else 2.0) * (1 + settings["bf16"]) + settings["micro"] / 100
        return {
            "pairs_a_second": speed,
            "seconds": settings["pairs"] / speed,
            "memory_mb": 300.0 * settings["micro"] / 16 if name == "ours" else 400.0,
            "losses": [0.5, 0.25] if name == "ours" else [0.5, 0.2505],
            "held_out_loss": 0.4 + settings["seed"] / 100,
        }

    monkeypatch.setattr(dpo, "_arm", arm)
    result = dpo.run()
    assert result["best"]["trl"]["bf16"] and result["best"]["trl"]["micro"] == 2
    assert result["best"]["ours"]["bf16"] and result["best"]["ours"]["micro"] == 8  # 16 takes 0.75 of TRL's memory
    turns = asked[-2 - 2 * len(dpo.SEEDS) : -2]
    assert [(name, s["seed"]) for name, s in turns] == [(name, seed) for seed in dpo.SEEDS for name in dpo.ARMS]
    assert all(s["held_out"] and not s["order"] and s["pairs"] == dpo.FREE_PAIRS for _, s in turns)
    same = [s for _, s in asked[-2:]]
    assert same[0]["order"] == same[1]["order"] and not any(s["bf16"] or s["logits16"] for s in same)
    assert sorted(i for batch in same[0]["order"] for i in batch) == list(range(dpo.SAME_PAIRS))
    runs = result["free"]["ours"]["runs"]
    assert result["free"]["ours"]["pairs_a_second"] == pytest.approx(sum(r["pairs_a_second"] for r in runs) / len(runs))
    section = dpo.page(result)
    assert [r.holds for r in section.ratios] == [True] * 4
    assert section.ratios[1].value == pytest.approx(150 / 400)
    assert section.text.count("(taken)") == 2
