"""What a training report says of both sides of the pairs."""

from pathlib import Path

import pytest
import torch

from guerdon.batch import Pairs
from guerdon.objectives import dpo
from guerdon.report import build_report
from guerdon.report.displacement import pair_likelihoods
from guerdon.training import Recipe, Recorded, run
from guerdon.worlds import Frozen, Snapshots
from tests.training.toy import Table, ToyWorld


def falling(rounds: int = 20) -> list[dict[str, float]]:
    return [
        {"round": r, "log_ratios/chosen": -0.1 * r, "log_ratios/rejected": -0.3 * r, "logps/chosen": 5.0 * (-1) ** r}
        for r in range(rounds)
    ]


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"method": "dpo"}, "expected here, because the loss sees only their difference"),
        ({"method": "dpo", "beta": 0.3}, "expected here, because the loss sees only their difference"),
        ({"method": "rpo", "hyper": {"eta": 1.0}}, "the objective holds the chosen side"),
        ({"method": "dpo-shift-linear"}, "the objective holds the chosen side"),
        ({"method": "nobody"}, "may see only"),
        ({"method": "rpo", "hyper": {"nothing": 1.0}}, "may see only"),
        ({}, "may see only"),
    ],
)
def test_the_reason_follows_from_the_method(config: dict[str, object], words: str) -> None:
    said = pair_likelihoods(falling(), {"config": config})
    assert words in said and "Here: both fall" in said and "minus the reference" in said


def test_without_a_reference_the_bare_log_probabilities_are_read() -> None:
    history = [{"round": r, "logps/chosen": 0.1 * r, "logps/rejected": -0.1 * r} for r in range(20)]
    said = pair_likelihoods(history, {})
    assert "Here: apart" in said and "longer responses lie lower" in said and "finding" not in said


def test_a_run_without_pairs_says_nothing() -> None:
    assert pair_likelihoods([{"round": 1, "reward": 1.0}, {"round": 2, "logps/chosen": None}], {}) == ""


def test_a_real_run_logs_what_the_report_reads(tmp_path: Path) -> None:
    world, snapshots = ToyWorld(), Snapshots(Table(), reference=Frozen())
    symbols = torch.randint(5, (8, 3), generator=torch.Generator().manual_seed(1))
    samples = world.recorded(snapshots, [2, 2, 1, 1, 2, 2, 1, 1], symbols)
    pairs = Pairs(torch.tensor([0, 2, 4, 6]), torch.tensor([1, 3, 5, 7]))
    done = run(Recipe(world, snapshots, Recorded(samples, 4, pairs), dpo(0.1), rounds=12), tmp_path)
    first, last = done.history[0], done.history[-1]
    assert first["log_ratios/chosen"] == pytest.approx(0.0, abs=1e-6)
    assert last["log_ratios/chosen"] == pytest.approx(last["rewards/chosen"] / 0.1, rel=1e-4)
    assert "Both sides of the pairs" in build_report(tmp_path).read_text()
