"""The GPU script runs on a CPU at its tiny size, says so where there is no GPU, and counts FLOPs as it states."""

import json

import pytest
import torch

from benchmarks import gpu, gpu_model


def test_it_runs_on_a_cpu(capsys: pytest.CaptureFixture[str]) -> None:
    assert gpu.main(["--device", "cpu", "--size", "tiny", "--steps", "1"]) == 0
    found = json.loads(capsys.readouterr().out.strip().splitlines()[-1])
    assert set(found) == {"tiny/dpo", "tiny/reward_model", "tiny/grpo"}
    for result in found.values():
        assert result["tokens_per_second"] == pytest.approx(2 * 2 * 16 / result["seconds"])
        assert result["utilisation"] == pytest.approx(result["flops"] / result["seconds"] / result["peak_flops"])
    assert found["tiny/grpo"]["sampled_tokens_per_second"] > 0


def test_without_a_gpu_it_says_so(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert gpu.main(["--size", "8b"]) == 0
    assert "no GPU" in capsys.readouterr().out


def test_flops_by_hand() -> None:
    work = gpu_model.Work(rows=1, each=2, prompt=3, response=2)
    # 3 + 2·2 tokens; squares of contexts: 9 of the prompt, 25 − 9 for each response; 2 layers of width 64.
    assert gpu_model.forward_flops(10, "tiny", work) == 2 * 10 * 7 + 2 * 2 * 64 * (9 + 2 * 16)
    assert work.tokens == 10


def test_parameters_count_what_is_multiplied() -> None:
    model = gpu_model.model_of("tiny", "cpu")
    attention, mlp = 64 * 64 * 2 + 64 * 32 * 2, 3 * 64 * 128
    assert gpu_model.parameters(model, head=False) == 2 * (attention + mlp)
    assert gpu_model.parameters(model) == 2 * (attention + mlp) + 512 * 64
