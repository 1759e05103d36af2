"""Metrics: names, hand-computed values, and where they go."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from guerdon.batch import Batch, Channel, Samples, Scores, Status, Steps, TokenRows
from guerdon.errors import DataError
from guerdon.training import JsonLines, Trackers, run
from guerdon.training.metrics import history_of, of_batch, of_rollout, renamed
from tests.training.test_run import online


def test_rewards_and_lengths_by_hand() -> None:
    response = torch.tensor([[0, 1, 1, 0], [0, 1, 0, 0], [0, 1, 1, 1], [0, 1, 0, 0]], dtype=torch.bool)
    ids = torch.zeros(4, 4, dtype=torch.int64)
    truncated = torch.tensor([False, False, True, False])
    samples = Samples(TokenRows(ids, torch.ones_like(response), response), ["p", "p", "q", "q"], truncated=truncated)
    nan = float("nan")
    status = torch.tensor([0, 0, 0, int(Status.FAILED)], dtype=torch.int8)
    scores = Scores({"r": Channel(torch.tensor([1.0, 3.0, 5.0, nan]), status)})
    failed = torch.tensor([False, False, False, True])
    told = of_rollout(samples, scores, failed, torch.zeros(4, dtype=torch.bool))
    assert told["reward"] == told["rewards/r/mean"] == 3.0
    assert told["rewards/r/std"] == 2.0
    assert told["reward_std"] == pytest.approx(2**0.5)  # of prompt p alone: q has one usable row
    assert told["frac_reward_zero_std"] == 0.0
    assert told["frac_reward_failed"] == 0.25
    assert told["completions/mean_length"] == 7 / 4
    assert (told["completions/min_length"], told["completions/max_length"], told["num_tokens"]) == (1.0, 3.0, 7.0)
    assert told["completions/clipped_ratio"] == 0.25


def test_kl_by_hand_under_a_dirty_mask() -> None:
    mask = torch.tensor([[True, True], [True, False]])
    policy = torch.tensor([[-1.0, -2.0], [-3.0, float("nan")]])
    reference = torch.tensor([[-1.5, -1.0], [-3.0, 1e9]])
    told = of_batch(Batch(Steps(mask, {"policy": policy, "reference": reference})))
    k3 = [2.718281828**-0.5 - 1 + 0.5, 2.718281828**1.0 - 1 - 1.0, 0.0]
    assert told["kl"] == (pytest.approx(sum(k3), rel=1e-6), 3.0)
    assert told["objective/kl"] == (pytest.approx(-0.5), 2.0)


def test_names_are_shared_out_where_two_terms_have_the_same() -> None:
    assert renamed({"dpo/chosen": 1, "clipped/clip_fraction": 2}) == {"rewards/chosen": 1, "clip_ratio": 2}
    assert renamed({"dpo/chosen": 1, "ipo/chosen": 2}) == {"dpo/chosen": 1, "ipo/chosen": 2}


def test_lines_are_json_whatever_the_numbers(tmp_path: Path) -> None:
    writer = JsonLines(tmp_path / "m.jsonl")
    writer.write(1, {"round": 1, "x": float("nan"), "y": 0.1})
    assert json.loads((tmp_path / "m.jsonl").read_text()) == {"round": 1, "x": None, "y": 0.1}  # flushed before close
    writer.close()


def test_a_line_that_does_not_parse_is_named(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    path.write_text('{"round": 1}\nrubbish\n{"round": 3}\n')
    with pytest.raises(DataError, match=r"m.jsonl:2: a JSON object was expected"):
        history_of(path)
    path.write_text('{"loss": 1}\n')
    with pytest.raises(DataError, match=r"m.jsonl:1: a record of a run with its 'round' was expected"):
        history_of(path)


def test_accelerates_trackers_get_every_round(tmp_path: Path) -> None:
    from accelerate.tracking import GeneralTracker, on_main_process

    class Memory(GeneralTracker):
        name = "memory"
        requires_logging_directory = False

        def __init__(self) -> None:
            super().__init__()
            self.lines: list[tuple[int | None, dict[str, Any]]] = []
            self.config: dict[str, Any] = {}
            self.finished = False

        @property
        def tracker(self) -> Any:
            return self.lines

        @on_main_process
        def store_init_configuration(self, values: dict[str, Any]) -> None:
            self.config = values

        @on_main_process
        def log(self, values: dict[str, Any], step: int | None = None, **_: Any) -> None:
            self.lines.append((step, values))

        @on_main_process
        def finish(self) -> None:
            self.finished = True

    memory = Memory()
    done = run(online(rounds=3), writers=[Trackers([memory], config={"lr": 0.1})])
    assert [step for step, _ in memory.lines] == [1, 2, 3]
    assert [line["reward"] for _, line in memory.lines] == [m["reward"] for m in done.history]
    assert memory.config == {"lr": 0.1} and memory.finished
