"""The demo's words follow from its numbers; the small demo runs through and ends with the report's path."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from guerdon.cli.demo import findings
from guerdon.cli.demo.study import ARMS, DPO, PAR, PESSIMISTIC, RAW


def curves(peak: float, end: float, seed: int, steps: int = 40) -> dict[str, list[float]]:
    """Gold that rises to ``peak`` at half way and goes to ``end``; KL and proxy that rise by one a step."""
    noise = np.random.default_rng(seed).normal(0, 0.01, steps)
    gold = np.interp(np.arange(steps), [0, steps // 2, steps - 1], [1.0, peak, end]) + noise
    line = np.arange(steps, dtype=float)
    flat = [0.5] * steps
    return {
        "step": line.tolist(),
        "kl": line.tolist(),
        "gold": gold.tolist(),
        "proxy": line.tolist(),
        "length": flat,
        "distinct": flat,
    }


def study(ends: dict[str, float]) -> dict[str, Any]:
    held = {"gold": 1.0, "proxy": 0.0, "kl": 1.0, "length": 5.0, "distinct": 0.5}
    seeds = [
        {
            "seed": s,
            "arms": {arm: curves(2.0, ends.get(arm, 2.0), 10 * s + i) for i, arm in enumerate(ARMS)},
            "held_out": dict.fromkeys(("start", *ARMS), held),
        }
        for s in range(3)
    ]
    return findings.analyse(seeds)


def test_a_collapse_is_found_where_it_starts_and_a_remedy_is_called_one() -> None:
    found = study({RAW: -2.0, PAR: -2.0})
    raw = found["onset"][RAW]
    assert raw["found"] and raw["seeds_found"] == 3 and raw["kl"] == pytest.approx(20, abs=3)
    assert not found["onset"][PESSIMISTIC]["found"]
    said = " ".join(found["findings"])
    assert "is seen in 3 of 3 seeds" in said
    assert "With the pessimistic ensemble (mean − std of its members) over-optimisation is not seen" in said
    assert "better at 2, worse at 0" in said
    gaps = found["equal"]["difference"]
    assert gaps[PESSIMISTIC][-1]["low"] > 1 and abs(gaps[PAR][-1]["mean"]) < 0.1
    assert "0.1 KL" in said and f"{DPO} on the same pairs" in said


def test_nothing_is_claimed_where_nothing_happened() -> None:
    said = study({})["findings"]
    assert "no over-optimisation is seen in 3 seeds" in said[0]
    assert all("no difference that these seeds can show" in s for s in said[1:3])


@pytest.mark.slow
def test_the_small_demo_ends_with_its_report(tmp_path: Path) -> None:
    call = [
        sys.executable,
        "-c",
        "import sys; from guerdon.cli import main; sys.exit(main())",
        "demo",
        "--fast",
        "--out",
    ]
    done = subprocess.run([*call, str(tmp_path / "d")], capture_output=True, text=True, timeout=540)
    assert done.returncode == 0, done.stderr[-2000:]
    report = Path(done.stdout.strip().splitlines()[-1])
    assert report == tmp_path / "d" / "report.html"
    text = report.read_text()
    for title in ("Preferences", "Reward model", "Is the reward being hacked?", "Samples side by side"):
        assert f"<h2>{title}</h2>" in text
    assert json.loads((tmp_path / "d" / "run.json").read_text())["status"] == "finished"
    again = subprocess.run([*call, str(tmp_path / "d")], capture_output=True, text=True, timeout=60)
    assert again.stdout.strip() == str(report) and report.read_text() == text
