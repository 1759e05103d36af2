"""SimPO and KTO beside TRL: the page reads what run gives."""

from typing import Any

import pytest

from benchmarks import objectives


def test_run_and_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """With arms that only tell what they were asked."""
    asked: list[tuple[str, dict[str, Any]]] = []

    def fresh(call: str, settings: dict[str, Any], *, threads: int) -> dict[str, Any]:
        arm = call.rpartition(":")[2]
        asked.append((arm, dict(settings)))
        speed = (8.0 if arm == "ours" else 2.0) * (2 if settings["bf16"] else 1)
        return {
            "pairs_a_second": speed,
            "seconds": settings["pairs"] / speed,
            "memory_mb": 100.0 if arm == "ours" else 400.0,
            "losses": [0.5, 0.25] if arm == "ours" else [0.5, 0.2505],
            "held_out_loss": 0.4,
        }

    monkeypatch.setattr(objectives, "fresh", fresh)
    result = objectives.run()
    for method in ("simpo", "kto"):
        of = [(arm, s) for arm, s in asked if s["method"] == method]
        assert len(of) == len(objectives.TRL[method]) + len(objectives.OURS[method]) + 4
        same = [s for _, s in of if s["order"]]
        items = [i for batch in same[0]["order"] for i in batch]
        assert same[0]["order"] == same[1]["order"] and {len(b) for b in same[0]["order"]} == {16}
        assert sorted(items) == list(range(same[0]["pairs"] * (2 if method == "kto" else 1)))
        assert all(best["bf16"] for best in result[method]["best"].values())
        assert all(s["bf16"] for _, s in of[-2:]) and {arm for arm, _ in of[-2:]} == {"trl", "ours"}
    section = objectives.page(result)
    assert [r.holds for r in section.ratios] == [True] * 4
    assert section.ratios[0].value == 4.0 and section.ratios[1].value == pytest.approx(5e-4)
    assert section.text.count("(taken)") == 4
    assert "| guerdon | 32 | " in section.text  # KTO counts rows, two a pair
