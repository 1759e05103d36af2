"""TR-DPO and sDPO: what the reference of a preset is after how many updates."""

from __future__ import annotations

import torch

from guerdon.batch import Seed
from guerdon.lab import finite as lab
from guerdon.training import methods, run
from guerdon.worlds.finite import LinearPolicy
from guerdon.worlds.snapshots import Snapshots


def test_soft_updates_take_a_share() -> None:
    preset = methods.find("tr-dpo")
    rule = preset.called(preset.rules, preset.settings({"alpha": 0.6, "every": 2}))["reference"]
    snapshots = Snapshots(torch.nn.Linear(2, 1, bias=False), reference=rule)
    start = snapshots.parameters("reference")["weight"].clone()
    with torch.no_grad():
        snapshots.module.weight.add_(1.0)
    snapshots.refresh(1)
    torch.testing.assert_close(snapshots.parameters("reference")["weight"], start)
    snapshots.refresh(2)
    torch.testing.assert_close(snapshots.parameters("reference")["weight"], start + 0.6)
    assert preset.hyper()["alpha"] == 0.6


def test_hard_updates_copy() -> None:
    preset = methods.find("tr-dpo-hard")
    rule = preset.called(preset.rules, preset.settings({"every": 3}))["reference"]
    snapshots = Snapshots(torch.nn.Linear(2, 1, bias=False), reference=rule)
    start = snapshots.parameters("reference")["weight"].clone()
    with torch.no_grad():
        snapshots.module.weight.add_(1.0)
    for step in (1, 2):
        snapshots.refresh(step)
        torch.testing.assert_close(snapshots.parameters("reference")["weight"], start)
    snapshots.refresh(3)
    torch.testing.assert_close(snapshots.parameters("reference")["weight"], start + 1.0)


def test_stages_start_from_the_last() -> None:
    """Ten updates in two stages: the reference moves once, after five."""
    preset = methods.find("sdpo")
    for updates, stages, every in ((10, 2, 5), (10, 3, 4), (1, 2, 1), (7, 7, 1)):
        rule = preset.called(preset.rules, preset.settings({"stages": stages}), updates)["reference"]
        assert rule.k == every


def test_a_run_uses_the_moved_reference() -> None:
    """The loss starts anew at log 2 after every copy, and nowhere else."""
    preset = methods.find("sdpo")
    bed = lab.finite(Seed(0), 4, 8)
    snapshots = Snapshots(
        LinearPolicy(bed.features, base=bed.reference), **preset.called(preset.rules, preset.settings({}), 6)
    )
    plain = lab.offline(bed, lab.compare(bed, 32, Seed(0)), preset.called(preset.objective, preset.settings({})))
    losses = [m["loss"] for m in run(plain.with_(snapshots=snapshots, rounds=6)).history]
    fresh = [abs(x - 0.693147) < 1e-5 for x in losses]
    assert fresh == [True, False, False, True, False, False]
