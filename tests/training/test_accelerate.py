"""`accelerate launch` with two processes gives the model that one process gives."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from guerdon.cli import main
from guerdon.training import distributed
from tests.cli.conftest import save_tokenizer, write_rows

ROOT = Path(__file__).resolve().parents[2]
LAUNCH = ("--multi_gpu", "--num_processes", "2", "--num_machines", "1", "--mixed_precision", "no")
"""Without a GPU this starts processes on the CPU; `--cpu` would start one, whatever the number."""


@pytest.fixture
def given(tmp_path: Path) -> list[str]:
    """The command without its --out: three updates of DPO on 20 pairs of uneven lengths, seven an update."""
    from transformers import GPT2Config, GPT2LMHeadModel

    folder = tmp_path / "model"
    size = save_tokenizer(folder)
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=size, n_embd=16, n_layer=1, n_head=2, n_positions=48, bos_token_id=0, eos_token_id=1)
    GPT2LMHeadModel(config).save_pretrained(folder)
    draw = random.Random(0)
    rows: list[dict[str, object]] = [
        {"prompt": f"say {i}", "chosen": "yes " * draw.randint(1, 5), "rejected": "no " * draw.randint(1, 5)}
        for i in range(20)
    ]
    prefs = write_rows(tmp_path / "prefs.jsonl", rows)
    fixed = ("held_out=0", "batch=7", "rounds=3", "sampling.limit=4", "samples=1", "optim.lr=0.01")
    return ["align", str(prefs), "--model", str(folder), "--method", "dpo", *(x for f in fixed for x in ("--set", f))]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    """The saved policy."""
    from safetensors.torch import load_file

    return load_file(folder / "policy" / "model.safetensors")


@pytest.mark.slow
def test_two_launched_processes_equal_one(given: list[str], tmp_path: Path) -> None:
    """Adam turns the rounding of an entry g of the gradient into at most lr·rounding/(|g| + 1e-8) of a weight, so that
    most weights agree to 1e-6, and those whose gradient is as small as its rounding within a step of the learning
    rate."""
    there = {k: v for k, v in os.environ.items() if k not in distributed.NAMES}
    launch = [sys.executable, "-m", "accelerate.commands.launch", *LAUNCH, "--main_process_port", "0"]
    done = subprocess.run(
        [*launch, "-m", "guerdon.cli", *given, "--out", str(tmp_path / "two")],
        cwd=tmp_path,
        env={**there, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert main([*given, "--out", str(tmp_path / "one")]) == 0
    one, two = tmp_path / "one", tmp_path / "two"
    before, alone, together = weights_of_start(given), weights(one), weights(two)
    assert alone.keys() == together.keys()
    moved = max(float((alone[k] - before[k]).abs().max()) for k in alone)
    gap = torch.cat([(alone[k] - together[k]).abs().reshape(-1) for k in alone])
    assert moved > 0.003
    assert float(gap.max()) < 1e-4
    assert float((gap > 1e-6).float().mean()) < 0.01
    told, there_too = (
        [json.loads(line) for line in (f / "metrics.jsonl").read_text().splitlines()] for f in (one, two)
    )
    assert [m["round"] for m in there_too] == [1, 2, 3]
    for a, b in zip(told, there_too, strict=True):
        assert a == pytest.approx(b, abs=1e-5)
    # One process wrote and spoke.
    assert sorted(p.name for p in one.iterdir()) == sorted(p.name for p in two.iterdir())
    assert done.stdout.count("pairs ordered rightly") == 1
    assert done.stderr.count("is read as format") == done.stderr.count("Report: ") == 1
    records = [json.loads((f / "run.json").read_text()) for f in (one, two)]
    assert [(r["ranks"], r["status"]) for r in records] == [(1, "finished"), (2, "finished")]


def weights_of_start(given: list[str]) -> dict[str, torch.Tensor]:
    """The model's weights before training."""
    from safetensors.torch import load_file

    return load_file(Path(given[given.index("--model") + 1]) / "model.safetensors")
