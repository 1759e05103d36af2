"""Two real processes over gloo compute what one computes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from guerdon.training import run
from tests.training.two_ranks import recipe

ROOT = Path(__file__).resolve().parents[2]


def test_two_ranks_equal_one(tmp_path: Path) -> None:
    """Per-rank and per-micro-batch denominators (prime-rl 1d9ca9255, verl 2eb020aa9, TRL d14f7f3eb) would differ here:
    rows have different lengths, and minibatches part unevenly."""
    command = [sys.executable, "-m", "tests.training.two_ranks"]
    ranks = [
        subprocess.Popen([*command, str(r), str(tmp_path / "store"), str(tmp_path)], cwd=ROOT, stderr=subprocess.PIPE)
        for r in range(2)
    ]
    errors = [p.communicate(timeout=100)[1].decode() for p in ranks]
    assert [p.returncode for p in ranks] == [0, 0], "\n".join(errors)
    one = recipe()
    history = run(one).history
    for r in range(2):
        found = torch.load(tmp_path / f"{r}.pt", weights_only=True)
        torch.testing.assert_close(found["weights"], one.snapshots.module.logits.detach(), atol=2e-6, rtol=0)
        assert found["last"].keys() == history[-1].keys()
        for key, value in history[-1].items():
            assert found["last"][key] == pytest.approx(value, abs=1e-5), key
        assert "the judge hung up" in found["error"] or "reward 'count' raised" in found["error"]
    # The first rank alone writes.
    assert len((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()) == 3
