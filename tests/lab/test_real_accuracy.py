"""The real-data accuracy: its arithmetic by hand, that choices never see a test pair, and the stored result."""

import json
from pathlib import Path

import pytest
import torch

from guerdon.errors import DataError
from guerdon.lab import real_accuracy as real

STORED = Path(__file__).resolve().parents[2] / "results" / "real_accuracy.json"


def test_ties_count_one_half() -> None:
    assert real.accuracy(torch.tensor([1.0, -1.0, 0.0, 2.0])) == 0.625


def test_the_length_baseline_takes_its_direction_from_training() -> None:
    gap = torch.tensor([-1.0, -2.0, 3.0, -1.0, 5.0, 0.0])
    train, test = torch.tensor([0, 1, 2]), torch.tensor([3, 4, 5])
    assert real.length_baseline(gap, train, test) == pytest.approx((1 + 0 + 0.5) / 3)


def test_one_split_finds_a_planted_direction_and_ignores_the_test_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(real, "TRAIN", 60)
    monkeypatch.setattr(real, "TEST", 30)
    monkeypatch.setattr(real, "FEATURES", (("u",), ("v",)))
    g = torch.Generator().manual_seed(0)
    u, v = torch.randn(2, 90, 4, generator=g), torch.randn(2, 90, 4, generator=g)
    u[0, :, 0] += 3.0  # winners are larger in the first coordinate of u; v says nothing
    blocks = {"u": (u[0], u[1]), "v": (v[0], v[1])}
    found = real.one_split(0, blocks, torch.randn(90, generator=g))
    assert found.features == ("u",) and found.accuracy > 0.9
    order = torch.randperm(90, generator=real.Seed(0).child("real_accuracy", "split").torch())
    held = order[60:]
    swapped = {k: (w.clone(), l.clone()) for k, (w, l) in blocks.items()}
    for k, (w, l) in blocks.items():
        swapped[k][0][held], swapped[k][1][held] = l[held], w[held]
    other = real.one_split(0, swapped, torch.zeros(90))
    assert (other.features, other.weight_decay, other.cross_validated) == (
        found.features,
        found.weight_decay,
        found.cross_validated,
    )
    assert other.accuracy == pytest.approx(1 - found.accuracy)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="hh_rlhf"):
        real.main(["--data", str(tmp_path), "--out", str(tmp_path / "out.json")])
    assert not (tmp_path / "out.json").exists()


def test_the_stored_result_is_what_its_splits_say() -> None:
    stored = json.loads(STORED.read_text())
    splits = [s["accuracy"] for s in stored["splits"]]
    assert len(splits) == 10 and stored["pairs"] == 2312
    assert stored["accuracy"]["estimate"] == pytest.approx(sum(splits) / 10)
    assert stored["accuracy"]["estimate"] >= 0.61 > stored["length_baseline"]["estimate"]
