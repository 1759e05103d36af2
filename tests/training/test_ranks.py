"""Several real processes over gloo compute what one computes.

They differ by the order of float32 sums alone. The mean of n terms of size a may move by n·a·2⁻²⁴ at worst, here some
1e-6; a few updates at rate 0.5 keep the weights within 2e-6. Adam divides by the gradient's own size, so that an entry
near 0 may turn its rounding into a whole step of the learning rate; none here does.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from guerdon.errors import GuerdonError
from guerdon.training import Trackers, distributed, joined
from tests.training.two_ranks import RECIPES, found, grpo

ROOT = Path(__file__).resolve().parents[2]


def free_port() -> str:
    """A port of this machine that nobody uses now."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return str(s.getsockname()[1])


def started(out: Path, size: int) -> list[dict[str, Any]]:
    """What each of ``size`` processes saved."""
    there = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port(), "WORLD_SIZE": str(size), "OMP_NUM_THREADS": "1"}
    out.mkdir()
    ranks = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.training.two_ranks", str(out)],
            cwd=ROOT,
            env={**os.environ, **there, "RANK": str(r)},
            stderr=subprocess.PIPE,
        )
        for r in range(size)
    ]
    errors = [p.communicate(timeout=100)[1].decode() for p in ranks]
    assert [p.returncode for p in ranks] == [0] * size, "\n".join(errors)
    return [torch.load(out / f"{r}.pt", weights_only=True) for r in range(size)]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the ranks work."""
    return tmp_path_factory.mktemp("ranks") / "out"


@pytest.fixture(scope="module")
def ranks(place: Path) -> list[dict[str, Any]]:
    """What two processes found."""
    return started(place, 2)


@pytest.mark.parametrize("name", RECIPES)
def test_two_ranks_equal_one(ranks: list[dict[str, Any]], name: str) -> None:
    """Loss and every other metric, gradient and weights after every round. Per-rank and per-micro-batch denominators
    (prime-rl 1d9ca9255, verl 2eb020aa9, TRL d14f7f3eb) would differ here: rows have different lengths, and updates part
    unevenly."""
    one, (first, second) = found(RECIPES[name]()), (r["result"][name] for r in ranks)
    assert (one["weights"][-1] - one["weights"][0]).abs().max() > 0.01  # there is something to compare
    for kind, within in (("gradients", 2e-7), ("weights", 1e-6)):
        torch.testing.assert_close(first[kind], one[kind], atol=within, rtol=0)
        assert torch.equal(first[kind], second[kind]), "every rank has the same bits"
    assert len(first["metrics"]) == len(one["metrics"])
    for a, b, alone in zip(first["metrics"], second["metrics"], one["metrics"], strict=True):
        assert a == b
        assert a.keys() == alone.keys()
        assert a == pytest.approx(alone, abs=2e-6)


def test_an_error_on_one_rank_is_told_on_all(ranks: list[dict[str, Any]]) -> None:
    """None waits for a rank that has gone."""
    for r in ranks:
        assert "reward 'count' raised in round 1 (OSError: the judge hung up)" in r["errors"]["reward"]
        assert r["errors"]["forward"] == "OSError: the device has gone"
        assert "nowhere" in r["errors"]["unsendable"]
        assert r["errors"]["unsendable value"] != ""
        assert "begin with different weights in" in r["errors"]["start"]
        assert "one of 2 processes, but it has not joined them" in r["errors"]["not joined"]


def test_the_first_rank_alone_writes_and_tells(ranks: list[dict[str, Any]], place: Path) -> None:
    assert [(r["size"], r["calls"]) for r in ranks] == [(2, [1, 2, 3]), (2, [])]
    assert len((place / "run" / "metrics.jsonl").read_text().splitlines()) == 3


def test_one_process_goes_on_where_two_stopped(ranks: list[dict[str, Any]], place: Path) -> None:
    """Draws belong to rounds and rows, not to ranks, so a checkpoint may be taken up by any number of them."""
    shutil.copytree(place / "run", place / "again")
    shutil.rmtree(place / "again" / "checkpoints" / "round-00000003")
    here, two = found(grpo(), str(place / "again")), ranks[0]["result"]["grpo"]
    assert [m["round"] for m in here["metrics"]] == [1, 2, 3]
    assert here["weights"].shape[0] == 1  # only the last round was done again
    torch.testing.assert_close(here["weights"][-1], two["weights"][-1], atol=2e-6, rtol=0)


@pytest.mark.parametrize(
    ("there", "said"),
    [
        ({"RANK": "0"}, r"only RANK came \(WORLD_SIZE, MASTER_ADDR, MASTER_PORT missing\)"),
        ({"RANK": "0", "WORLD_SIZE": "2"}, r"only RANK, WORLD_SIZE came \(MASTER_ADDR, MASTER_PORT missing\)"),
        ({"WORLD_SIZE": "2", "MASTER_ADDR": "a", "MASTER_PORT": "1"}, r"\(RANK missing\)"),
        ({"RANK": "2", "WORLD_SIZE": "2", "MASTER_ADDR": "a", "MASTER_PORT": "1"}, "RANK='2' and WORLD_SIZE='2'"),
        ({"RANK": "x", "WORLD_SIZE": "2", "MASTER_ADDR": "a", "MASTER_PORT": "1"}, "RANK='x'"),
        ({"MASTER_ADDR": "127.0.0.1", "ACCELERATE_USE_CPU": "True"}, "--cpu starts one process"),
        (
            {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "a", "MASTER_PORT": "1", "ACCELERATE_USE_FSDP": "true"},
            "FSDP was asked for, but every rank holds the whole model",
        ),
    ],
)
def test_a_half_set_environment_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, there: dict[str, str], said: str
) -> None:
    for name in distributed.NAMES:
        monkeypatch.delenv(name, raising=False)
    for name, value in there.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(GuerdonError, match=said), joined():
        pass


@pytest.mark.parametrize("there", [{}, {"RANK": "0", "WORLD_SIZE": "1"}, {"MASTER_ADDR": "a", "MASTER_PORT": "1"}])
def test_one_process_joins_nothing(monkeypatch: pytest.MonkeyPatch, there: dict[str, str]) -> None:
    for name in distributed.NAMES:
        monkeypatch.delenv(name, raising=False)
    for name, value in there.items():
        monkeypatch.setenv(name, value)
    with joined():
        assert not torch.distributed.is_initialized()
        assert (distributed.rank(), distributed.size()) == (0, 1)


def test_verbs_of_one_process_refuse_several(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from guerdon.verbs.folder import open_run

    for name, value in zip(distributed.NAMES, ("1", "2", "127.0.0.1", "1"), strict=True):
        monkeypatch.setenv(name, value)
    with pytest.raises(GuerdonError, match="train-reward is the work of one process, but a launcher started 2"):
        open_run(tmp_path / "out", "train-reward", {})
    assert not (tmp_path / "out").exists()


@pytest.mark.filterwarnings("ignore:`log_with=:UserWarning")
def test_closing_trackers_leaves_the_process_group() -> None:
    """Accelerate's ``end_training`` would end it, and every rank would then take itself for the first."""
    pytest.importorskip("accelerate")
    import torch.distributed as dist

    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    try:
        Trackers([]).close()
        assert dist.is_initialized()
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()
