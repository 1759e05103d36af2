"""A dry run counts what the real run does, row for row, and reads no weights."""

import json
import math
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch

from guerdon.cli import main
from guerdon.rewards.models.scalar import ScalarRewardModel
from guerdon.training import run as _  # noqa: F401 - loaded before anything is replaced
from guerdon.verbs.plan import Rate, Shape
from guerdon.worlds.text import generate, rescore, world
from tests.cli.conftest import write_rows  # type: ignore[import-not-found,unused-ignore]

LIMIT = ("--set", "sampling.limit=4")


@pytest.fixture(scope="module")
def reward(tmp_path_factory: pytest.TempPathFactory, llama: Path) -> Path:
    folder = tmp_path_factory.mktemp("dry")
    pairs = [{"prompt": f"say {i}", "chosen": "yes " * (1 + i % 3), "rejected": "no"} for i in range(24)]
    prefs = write_rows(folder / "prefs.jsonl", pairs)
    call = ["train-reward", prefs, "--model", llama, "--members", "2", "--out", folder / "reward"]
    assert main([str(a) for a in call]) == 0
    return folder


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Rows of real runs by kind."""
    count: Counter[str] = Counter()
    evidence, draw, forward, packed, encoded = (
        rescore.evidence,
        generate.generate,
        ScalarRewardModel.forward,
        ScalarRewardModel.packed_scores,
        ScalarRewardModel.score_encoded,
    )

    def re_read(model: Any, head: Any, piece: Any, **rest: Any) -> Any:
        count["rows forward and backward" if torch.is_grad_enabled() else "rows forward"] += len(piece.row.unique())
        return evidence(model, head, piece, **rest)

    def drawn(model: Any, head: Any, plan: Any, *rest: Any) -> Any:
        count["responses drawn"] += len(plan.keys)
        return draw(model, head, plan, *rest)

    def read(self: Any, rows: Any) -> Any:
        if torch.is_grad_enabled():
            count["reward: rows forward and backward"] += len(rows)
        return forward(self, rows)

    def read_packed(self: Any, rows: Any, *rest: Any) -> Any:
        if torch.is_grad_enabled():
            count["reward: rows forward and backward"] += len(rows)
        return packed(self, rows, *rest)

    def scored(self: Any, rows: Any, *rest: Any) -> Any:
        count["rows scored by the reward"] += len(rows)
        return encoded(self, rows, *rest)

    monkeypatch.setattr("guerdon.report.build_report", lambda folder: folder)  # plots take longer than these runs
    monkeypatch.setattr(rescore, "evidence", re_read)
    monkeypatch.setattr(world, "generate", drawn)
    monkeypatch.setattr(ScalarRewardModel, "forward", read)
    monkeypatch.setattr(ScalarRewardModel, "packed_scores", read_packed)
    monkeypatch.setattr(ScalarRewardModel, "score_encoded", scored)
    return count


def dry(capsys: pytest.CaptureFixture[str], *call: object) -> dict[str, Any]:
    capsys.readouterr()
    assert main([*(str(a) for a in call), "--dry-run", "--json"]) == 0
    told: dict[str, Any] = json.loads(capsys.readouterr().out)
    return told


@pytest.mark.parametrize(
    ("method", "more"),
    [
        ("dpo", ("--batch", "5", "--epochs", "2")),
        ("ipo", ("--rounds", "3", "--eval-every", "2")),
        ("simpo", ("--lora", "--batch", "8")),
        ("rloo", ("--per-prompt", "3", "--batch", "7")),
        ("rloo", ("--shaping", "par", "--kl", "0", "--rounds", "1")),
        ("grpo", ("--rounds", "2", "--held-out", "0")),
        ("grpo", ("--rounds", "1", "--kl", "0")),
        ("remax", ("--rounds", "2", "--per-prompt", "2")),
    ],
)
def test_align_counts_what_it_does(
    method: str,
    more: tuple[str, ...],
    reward: Path,
    llama: Path,
    tmp_path: Path,
    seen: Counter[str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    call = ["align", reward / "prefs.jsonl", "--model", llama, "--method", method, "--reward", reward / "reward"]
    call += [*LIMIT, "--samples", "3", "--out", tmp_path / "o", *more]
    told = dry(capsys, *call)
    assert not seen and not (tmp_path / "o").exists()
    assert main([str(a) for a in call]) == 0
    passes = told["passes"]
    assert {name: seen[name] for name in passes if name != "updates"} == {
        k: v for k, v in passes.items() if k != "updates"
    }
    history = (tmp_path / "o" / "metrics.jsonl").read_text().splitlines()
    assert passes["updates"] == sum(json.loads(line)["updates"] for line in history)


def test_rows_of_several_pairs_are_read_once(
    llama: Path, tmp_path: Path, seen: Counter[str], capsys: pytest.CaptureFixture[str]
) -> None:
    record = {
        "guerdon": 1,
        "prompt": [{"role": "user", "content": "p"}],
        "responses": [[{"role": "assistant", "content": x}] for x in "abc"],
        "comparisons": [{"first": 0, "second": 1}, {"first": 0, "second": 2}, {"first": 1, "second": 2}],
    }
    prefs = write_rows(tmp_path / "k.jsonl", [record, {**record, "prompt": [{"role": "user", "content": "q"}]}])
    call = ["align", prefs, "--model", llama, "--method", "dpo", *LIMIT, "--batch", "4", "--epochs", "2"]
    told = dry(capsys, *call)
    assert main([*(str(a) for a in call), "--out", str(tmp_path / "o")]) == 0
    assert told["passes"]["rows forward and backward"] == seen["rows forward and backward"] < 2 * 12
    assert told["passes"]["rows forward"] == seen["rows forward"]


def test_train_reward_counts_what_it_does(
    reward: Path, llama: Path, tmp_path: Path, seen: Counter[str], capsys: pytest.CaptureFixture[str]
) -> None:
    call = ["train-reward", reward / "prefs.jsonl", "--model", llama, "--out", tmp_path / "r", "--batch", "5"]
    told = dry(capsys, *call)
    assert main([str(a) for a in call]) == 0
    assert told["passes"]["rows forward and backward"] == seen["reward: rows forward and backward"] == 2 * 22 * 2
    assert told["passes"]["rows forward"] == seen["rows scored by the reward"] == 2 * 2
    assert told["passes"]["updates"] == 2 * math.ceil(22 / 5)


def test_sample_and_score_count_what_they_do(
    reward: Path, llama: Path, tmp_path: Path, seen: Counter[str], capsys: pytest.CaptureFixture[str]
) -> None:
    prompts = write_rows(tmp_path / "p.jsonl", [{"prompt": f"say {i}"} for i in range(5)])
    call = [
        "sample",
        prompts,
        "--model",
        llama,
        "--reward",
        reward / "reward",
        "--best-of",
        "3",
        "--batch",
        "2",
        *LIMIT,
    ]
    told = dry(capsys, *call)
    assert main([*(str(a) for a in call), "--out", str(tmp_path / "s")]) == 0
    assert told["passes"]["responses drawn"] == seen["responses drawn"] == 15
    assert told["passes"]["rows scored by the reward"] == seen["rows scored by the reward"] == 15
    seen.clear()
    told = dry(capsys, "score", reward / "reward", reward / "prefs.jsonl")
    assert main(["score", str(reward / "reward"), str(reward / "prefs.jsonl")]) == 0
    assert told["passes"]["rows forward"] == seen["rows scored by the reward"] == 48


def test_no_weights_are_read(reward: Path, llama: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import shutil

    bare = tmp_path / "bare"
    shutil.copytree(llama, bare, ignore=shutil.ignore_patterns("*.safetensors"))
    told = dry(capsys, "align", reward / "prefs.jsonl", "--model", bare, "--method", "dpo", *LIMIT)
    weights = sum(t.numel() for t in _weights(llama))
    assert told["memory"]["weights"] == 4 * weights and told["memory"]["optimiser"] == 8 * weights
    assert told["seconds"] > 0 and told["peak"] == sum(told["memory"].values())


def _weights(folder: Path) -> list[torch.Tensor]:
    from safetensors.torch import load_file

    return list(load_file(folder / "model.safetensors").values())


def test_lora_trains_rank_times_both_sides(llama: Path, reward: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = dry(capsys, "align", reward / "prefs.jsonl", "--model", llama, "--method", "dpo", "--lora-rank", "2", *LIMIT)
    # q, k, v, o: 16 to 16; gate, up: 16 to 32; down: 32 to 16.
    assert told["memory"]["gradients"] == 4 * 2 * (4 * 32 + 3 * 48)
    assert "copies of the weights" not in told["memory"]


def test_the_arithmetic_of_time() -> None:
    shape = Shape(weights=1000, multiplied=600, layers=2, width=10, heads=2, vocabulary=40, context=8)
    assert shape.forward(5, 3) == 5 * (2 * 600 + 4 * 2 * 10 * 3)
    assert Rate(1e6, 1e-6).seconds(2e6, 10, 2) == pytest.approx(2 + 10 * 700e-6)
    assert shape.activations(rows=3, length=4, size=4) == 3 * 4 * 2 * (340 + 40) * 2
    measured = Rate.measured(seconds=0.02)
    assert measured.operations > 1e8 and 0 < measured.start < 0.01


def test_what_a_run_lacks_is_said_before_it_begins(refused, reward: Path, llama: Path, tmp_path: Path) -> None:
    prefs = reward / "prefs.jsonl"
    assert "--reward" in refused("align", prefs, "--model", llama, "--method", "rloo", "--dry-run")
    assert "config.json" in refused("align", prefs, "--model", tmp_path, "--method", "dpo", "--dry-run")
    assert "reward_model.json" in refused("score", tmp_path, prefs, "--dry-run")
