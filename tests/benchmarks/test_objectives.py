"""SimPO and KTO beside TRL: the arms compute the same, and the page reads what run gives."""

import os
import random
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks import alignment, models, objectives

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("GUERDON_DATA", ROOT.parent / "shared" / "data")) / "hh_rlhf"
SMALL = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
TRAIN = [{"prompt": f"p{i}", "chosen": f"w{i}", "rejected": f"l{i}"} for i in range(3)]


def test_an_order_gets_the_mismatched_rows_of_trl() -> None:
    """Within every batch, the responses move on by one."""
    told: dict[str, Any] = {}
    world = SimpleNamespace(recorded=lambda prompts, responses: told.update(p=prompts, r=responses) or range(12))
    source = alignment._labelled({"order": [[0, 3, 4], [5, 2, 1]], "batch": 3}, world, TRAIN)
    assert told["p"] == 2 * ["p0", "p1", "p2", "p2", "p1", "p0"]
    assert told["r"][:6] == ["w0", "l1", "w2", "l2", "w1", "l0"]
    assert told["r"][6:] == ["w2", "w0", "l1", "l0", "l2", "w1"]
    assert source.desirable.tolist() == [True, False, True, False, True, False]


def test_an_order_of_its_own_keeps_prompts_together_and_mismatches() -> None:
    told: dict[str, Any] = {}
    world = SimpleNamespace(recorded=lambda prompts, responses: told.update(p=prompts, r=responses) or range(12))
    alignment._labelled({"order": None, "batch": 2, "seed": 0, "together": True}, world, TRAIN)
    assert sorted(told["r"][:6]) == sorted(x[k] for x in TRAIN for k in ("chosen", "rejected"))
    assert told["p"][:6:2] == told["p"][1:6:2] and told["p"][:6] == told["p"][6:]
    assert all(p[1] != r[1] for p, r in zip(told["p"][6:], told["r"][6:], strict=True))


@pytest.mark.parametrize("grouped", [False, True])
def test_trl_reads_every_row_once(grouped: bool) -> None:
    rows = [{**r, "completion": r["completion"] * k} for k, r in enumerate(alignment.labelled(TRAIN), 1)]
    found = alignment._ordered(rows, {"seed": 1, "batch": 2, "grouped": grouped})
    key = lambda r: (r["prompt"], r["completion"])  # noqa: E731
    assert sorted(found, key=key) == sorted(rows, key=key)
    if grouped:
        batches = [sorted(len(r["completion"]) // 2 for r in found[i : i + 2]) for i in range(0, 6, 2)]
        assert sorted(batches) == [[1, 2], [3, 4], [5, 6]]


@pytest.mark.data
@pytest.mark.skipif(not DATA.exists(), reason=f"needs hh_rlhf in {DATA.parent}")
@pytest.mark.parametrize("method", ["simpo", "kto"])
def test_both_arms_have_the_same_losses(monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    """On a tiny model, in this process, every update; losses beyond KTO's first need equal mismatched rows and z₀."""
    pytest.importorskip("trl")
    plain = models.causal_lm
    monkeypatch.setattr(models, "causal_lm", lambda: plain(**SMALL))
    monkeypatch.setattr(alignment, "RATE", 3e-3)
    batch = 4 if method == "kto" else 2
    rows = random.Random(0).sample(range(2 * batch), 2 * batch)
    order = [rows[:batch], rows[batch:]]
    settings = {"method": method, "pairs": 4, "batch": batch, "seed": 0, "order": order, "held_out": 1, "micro": batch}
    ours = alignment.ours(settings)
    peer = alignment.trl({**settings, "grouped": False, "bf16": False, "precompute": False})
    assert ours["losses"] == pytest.approx(peer["losses"], abs=1e-5)
    assert ours["held_out_loss"] == pytest.approx(peer["held_out_loss"], abs=1e-4)
    assert max(ours["losses"]) - min(ours["losses"]) > 1e-3


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
