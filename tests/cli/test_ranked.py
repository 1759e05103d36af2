"""The align run says which pairs it ranks rightly, beside which have the higher log-ratio."""

import json
from pathlib import Path

import pytest

import guerdon
from guerdon.batch import Preference
from guerdon.report import build_report

YES = [Preference.pair(f"say {i}", "yes " * (1 + i % 3), "no " * (1 + i % 2)) for i in range(20)]


def test_an_offline_run_ranks_its_pairs(llama: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    options = {"batch": 8, "rounds": 3, "samples": 1, "sampling.limit": 4, "optim.lr": 0.05, "hyper.gamma": 0.0}
    done = guerdon.align(YES, str(llama), "dpo-gamma", out=out, **options)
    found = done.summary["rankings"]
    assert json.loads(json.dumps(found)) == json.loads((out / "summary.json").read_text())["rankings"]
    assert found["pairs"] == sum(b["pairs"] for b in found["difficulty"]) > 0
    assert found["accuracy"]["estimate"] >= found["reference"]["estimate"]
    assert found["reward"]["estimate"] == pytest.approx(done.summary["after"]["pairs ordered rightly"])
    assert "Which pairs it ranks rightly" in build_report(out).read_text()
