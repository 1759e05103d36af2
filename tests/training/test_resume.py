"""Checkpoints are atomic and a resumed run is the uninterrupted one, to the bit."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from guerdon.errors import DataError, GuerdonError
from guerdon.training import Optim, checkpoints, run
from tests.training.kill_resume import recipe
from tests.training.test_run import online, weights

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_killed_at_twenty_points_it_resumes_to_identical_weights() -> None:
    command = [sys.executable, "tests/training/kill_resume.py", "20"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.stdout.strip().endswith("20/20 identical"), done.stdout + done.stderr
    assert done.returncode == 0


def test_resuming_equals_going_on(tmp_path: Path) -> None:
    torch.manual_seed(1)
    whole, first = recipe(12), recipe(12)
    history = run(whole, tmp_path / "whole", save_every=5).history
    stop = replace(first, rounds=12, evals=())
    with pytest.raises(KeyboardInterrupt):
        run(stop, tmp_path / "cut", save_every=5, on_metrics=lambda p: interrupt(p.round))
    torch.manual_seed(99)  # what the global generator holds must not matter
    resumed = recipe(12)
    again = run(resumed, tmp_path / "cut", save_every=5).history
    assert torch.equal(whole.snapshots.module.logits, resumed.snapshots.module.logits)  # type: ignore[union-attr]
    assert list(again) == list(history)
    a, b = (checkpoints.load(tmp_path / k / "checkpoints" / "round-00000012") for k in ("whole", "cut"))
    assert torch.equal(a["snapshots"]["policy"]["ema:logits"], b["snapshots"]["policy"]["ema:logits"])
    assert float(a["reward"]["calls"]) == float(b["reward"]["calls"]) == 12


def interrupt(round: int) -> None:
    if round == 8:
        raise KeyboardInterrupt


def test_metrics_hold_every_round_once_though_lines_were_written_past_the_checkpoint(tmp_path: Path) -> None:
    run(online(rounds=4), tmp_path, save_every=2)
    path = tmp_path / "metrics.jsonl"
    path.write_text(path.read_text() + '{"round": 5, "lost": 1}\n{"round": 6, "torn')
    history = run(online(rounds=6), tmp_path, save_every=2).history
    assert [m["round"] for m in history] == [1, 2, 3, 4, 5, 6]
    assert "lost" not in path.read_text()
    assert path.read_text().count("\n") == 6


def test_a_finished_run_is_not_run_again(tmp_path: Path) -> None:
    first = run(online(rounds=3), tmp_path)
    recipe = online(rounds=3)
    again = run(recipe, tmp_path, on_metrics=lambda p: pytest.fail("no round was left"))
    assert again.history == first.history
    assert torch.equal(weights(recipe), first.snapshots.module.logits)  # type: ignore[union-attr]


def test_a_run_at_a_constant_rate_can_be_made_longer_and_another_recipe_is_refused(tmp_path: Path) -> None:
    run(online(rounds=3), tmp_path)
    assert run(online(rounds=5), tmp_path).rounds == 5
    with pytest.raises(GuerdonError, match="made by another recipe"):
        run(online(rounds=5, optim=Optim(lr=0.2, kind="adam")), tmp_path)
    with pytest.raises(GuerdonError, match="already holds a run"):
        run(online(rounds=5), tmp_path, resume=False)


STATE: dict[str, Any] = {
    "a": torch.tensor([1.0, float("nan")]),
    "deep": {"b": torch.arange(3), "list": [1, "x", None, True, torch.zeros(())], "empty": {}},
    "n": 3,
    "f": 0.1,
}


def test_a_state_comes_back_as_it_was(tmp_path: Path) -> None:
    found = checkpoints.load(checkpoints.save(tmp_path, 7, STATE))
    assert torch.equal(found["a"].view(torch.int32), STATE["a"].view(torch.int32))
    assert torch.equal(found["deep"]["b"], torch.arange(3)) and found["deep"]["b"].dtype == torch.int64
    assert found["deep"]["list"][:4] == [1, "x", None, True] and found["deep"]["list"][4].shape == ()
    assert (found["n"], found["f"], found["deep"]["empty"]) == (3, 0.1, {})


def test_tensors_that_share_memory_are_saved_apart(tmp_path: Path) -> None:
    x = torch.arange(6.0)
    found = checkpoints.load(checkpoints.save(tmp_path, 1, {"x": x, "view": x[::2], "same": x}))
    assert torch.equal(found["view"], x[::2]) and torch.equal(found["same"], x)


def test_what_cannot_be_saved_is_named(tmp_path: Path) -> None:
    with pytest.raises(GuerdonError, match=r"'deep/fn' is a function"):
        checkpoints.save(tmp_path, 1, {"deep": {"fn": interrupt}})
    with pytest.raises(GuerdonError, match="keys of a saved state must be strings"):
        checkpoints.save(tmp_path, 1, {"deep": {3: 1}})


def test_the_newest_are_kept(tmp_path: Path) -> None:
    for k in range(1, 6):
        checkpoints.save(tmp_path, k, {"k": k}, keep=2)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["round-00000004", "round-00000005"]
    newest = checkpoints.latest(tmp_path)
    assert newest is not None and checkpoints.load(newest)["k"] == 5
    assert checkpoints.latest(tmp_path / "nowhere") is None


@pytest.mark.parametrize("call", ["fsync", "rename"])
def test_a_full_disk_leaves_earlier_checkpoints_intact(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    checkpoints.save(tmp_path, 1, {"k": 1})

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, call, full)
    with pytest.raises(
        GuerdonError, match=r"round 2 could not be written .*No space left on device.*earlier ones are intact"
    ):
        checkpoints.save(tmp_path, 2, {"k": 2})
    monkeypatch.undo()
    assert [p.name for p in tmp_path.iterdir()] == ["round-00000001"]
    assert checkpoints.load(tmp_path / "round-00000001")["k"] == 1


def test_half_a_checkpoint_is_ignored_and_replaced(tmp_path: Path) -> None:
    checkpoints.save(tmp_path, 1, {"k": 1})
    torn = tmp_path / ".round-00000002.tmp"
    torn.mkdir()
    (torn / "state.json").write_text('{"version": 1')
    newest = checkpoints.latest(tmp_path)
    assert newest is not None and newest.name == "round-00000001"
    checkpoints.save(tmp_path, 2, {"k": 2})
    assert not torn.exists() and checkpoints.load(tmp_path / "round-00000002")["k"] == 2


def test_a_broken_checkpoint_says_which_and_what_to_do(tmp_path: Path) -> None:
    at = checkpoints.save(tmp_path, 1, {"k": torch.zeros(3)})
    (at / "tensors.safetensors").write_bytes(b"rubbish")
    with pytest.raises(DataError, match=r"round-00000001 cannot be read .*remove this folder to fall back"):
        checkpoints.load(at)


def test_nothing_is_pickled(tmp_path: Path) -> None:
    run(online(rounds=2), tmp_path, save_every=1)
    files = {p.suffix for p in tmp_path.rglob("*") if p.is_file()}
    assert files == {".jsonl", ".json", ".safetensors"}
