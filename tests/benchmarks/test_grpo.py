"""The GRPO benchmark at a tiny size: both arms do the same step on the same rows, and the page says what failed."""

from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import grpo, grpo_ours, grpo_sampling, grpo_task, grpo_trl
from guerdon.batch import Samples, TokenRows
from guerdon.rewards import Context

SIZE: dict[str, Any] = {"prompts": 2, "per_start": 4, "tokens": 4, "steps": 1, "beta": 0.04}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return grpo_task.write(str(tmp_path_factory.mktemp("model")), layers=1, made=True)


def test_both_arms_take_the_same_step_on_the_same_rows(folder: str) -> None:
    pytest.importorskip("trl")
    task = {**SIZE, "folder": folder}
    peer = grpo_trl.arm({**task, **grpo_trl.SETTINGS})
    assert all(peer["median"][k] > 0 for k in ("generation", "re-scoring", "reward", "update"))
    replayed = grpo_ours.arm({**task, **grpo_ours.SETTINGS, "rows": peer["rows"]})
    assert peer["grad_norm"] > 1e-3
    for name in ("grad_norm", "reward", "loss"):
        assert replayed[name] == pytest.approx(peer[name], rel=1e-3, abs=1e-6)


def test_our_arm_times_its_parts_and_leaves_the_library_as_it_was(folder: str) -> None:
    import importlib

    loop = importlib.import_module("guerdon.training.run")
    before = loop.update, loop.of_rollout
    ours = grpo_ours.arm({**SIZE, **grpo_ours.SETTINGS, "folder": folder})
    assert (loop.update, loop.of_rollout) == before
    lap = ours["median"]
    stages = ("generation", "re-scoring", "reward", "shaping", "audit", "update")
    assert all(lap[k] > 0 for k in stages)
    assert sum(lap[k] for k in stages) == pytest.approx(lap["step"])
    # Without a KL there is nothing to re-score.
    assert grpo_ours.arm({**SIZE, **grpo_ours.SETTINGS, "folder": folder, "beta": 0.0})["median"]["re-scoring"] == 0


@pytest.mark.parametrize("arm", ["peer", "ours"])
def test_sampling_arms_make_every_token(folder: str, arm: str) -> None:
    begin = grpo_sampling.PEER if arm == "peer" else grpo_sampling.OURS
    got = getattr(grpo_sampling, arm)({**SIZE, **begin, "folder": folder, "repeats": 1})
    assert got["tokens_per_second"] == pytest.approx(2 * 4 * 4 / got["seconds"])


def test_the_plain_reward_is_the_composed_one() -> None:
    texts = ["a b c", "a a a a", "word " * 90, "", "eio u", "x", "zz zz y", "aa bb cc dd"]
    rows = torch.ones(8, 2, dtype=torch.bool)
    payload = TokenRows(torch.ones(8, 2, dtype=torch.int64), rows, rows)
    samples = Samples(payload, ["p"] * 4 + ["q"] * 4, texts)
    node = grpo_task.composed(grpo_task.Stages())
    scores, _ = node.score(samples, node.init(), Context())
    torch.testing.assert_close(scores.only().value, torch.tensor(grpo_task.plain(texts, 4)), atol=1e-5, rtol=1e-5)


def test_a_stage_within_a_stage_is_counted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(grpo_task.time, "perf_counter", lambda: now[0])
    stages = grpo_task.Stages()

    def work(seconds: float) -> None:
        now[0] += seconds

    inner = stages.timed("inner", work)

    def both() -> None:
        work(1.0)
        inner(4.0)
        work(2.0)

    work(0.5)
    stages.timed("outer", both)()
    stages.lap()
    assert stages.laps == [{"rest": 0.5, "outer": 3.0, "inner": 4.0, "step": 7.5}]
    for seconds in (3.0, 1.0, 2.0):
        work(seconds)
        stages.lap()
    assert stages.median()["step"] == 2.0 and stages.least() == 1.0


def test_a_sweep_keeps_what_is_faster_and_tells_what_does_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def arm(call: str, settings: dict[str, Any]) -> dict[str, Any]:
        if settings["cache"]:
            raise RuntimeError("arm failed:\nNo such cache")
        return {"seconds": 4.0 - settings["threads"] + settings["bf16"]}

    monkeypatch.setattr(grpo, "_arm", arm)
    begin = {"threads": 1, "bf16": False, "cache": None}
    rows, best = grpo._swept("x", {}, begin, ({"threads": 2}, {"bf16": True}, {"cache": "static"}))
    assert best == {"threads": 2, "bf16": False, "cache": None}
    assert [(r["seconds"], r["kept"]) for r in rows] == [(3.0, True), (2.0, True), (3.0, False), (None, False)]
    assert "does not run: No such cache" in grpo._sweep_table(rows)


def test_the_page_says_which_ratio_fails() -> None:
    lap = {"generation": 1.0, "re-scoring": 1.0, "reward": 0.0, "shaping": 0.1, "audit": 0.2, "update": 2.0}

    def arm(step: float) -> dict[str, Any]:
        return {"median": {**lap, "step": step}}

    told = {"loss": 0.0, "grad_norm": 2.0, "reward": 0.5}
    sweep = [{"change": "as it begins", "seconds": 1.0, "kept": True}]
    speed = {"peer": {"tokens_per_second": 50.0}, "ours": {"tokens_per_second": 100.0}}
    result = {
        "size": {"prompts": 8, "per_start": 8, "tokens": 64, "steps": 5, "layers": 4},
        "sweeps": {"peer": sweep, "ours": sweep},
        "best": {"peer": grpo_trl.SETTINGS, "ours": grpo_ours.SETTINGS},
        "betas": {"0.04": {"peer": arm(16.0), "ours": arm(4.0)}, "0.0": {"peer": arm(8.0), "ours": arm(4.0)}},
        "agree": {"peer": told, "ours": {**told, "grad_norm": 2.001}},
        "sampling": {
            "sweeps": {"peer": sweep, "ours": sweep},
            "batches": [{"prompts": 8, "per_start": 8, **speed}],
        },
    }
    section = grpo.page(result)
    assert [(pytest.approx(r.value, rel=1e-6), r.holds) for r in section.ratios] == [
        (4.0, True),
        (2.0, False),
        (0.075, False),
        (5e-4, True),
        (2.0, True),
    ]
    assert "| 64 | 8 | 50 | 100 | 2 |" in section.text


def test_made_prompts_have_the_stated_lengths(folder: str) -> None:
    _, tokenizer, prompts = grpo_task.load(folder)
    sizes = [len(ids) for ids in tokenizer(prompts)["input_ids"]]
    assert min(sizes) >= grpo_task.SHORTEST and max(sizes) <= grpo_task.LONGEST and len(set(sizes)) > 10
    assert Path(folder, "prompts.json").exists()
