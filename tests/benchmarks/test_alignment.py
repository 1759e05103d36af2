"""The arms of the alignment benchmarks: what they read, and that guerdon's and TRL's compute the same."""

import os
import random
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks import alignment, models

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
@pytest.mark.parametrize(("method", "precompute"), [("dpo", True), ("dpo", False), ("simpo", False), ("kto", False)])
def test_both_arms_have_the_same_losses(monkeypatch: pytest.MonkeyPatch, method: str, precompute: bool) -> None:
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
    peer = alignment.trl({**settings, "grouped": False, "bf16": False, "precompute": precompute})
    assert ours["losses"] == pytest.approx(peer["losses"], abs=1e-5)
    assert ours["held_out_loss"] == pytest.approx(peer["held_out_loss"], abs=1e-4)
    assert max(ours["losses"]) - min(ours["losses"]) > 1e-3
