"""An audit with a policy says what that policy makes of the pairs."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

import guerdon
from guerdon.batch import Preference
from guerdon.batch.records import Comparison
from guerdon.errors import GuerdonError
from guerdon.report import build_report
from guerdon.verbs.preferences import audit
from tests.cli.conftest import Refused

PAIRS = [Preference.pair(f"say {i}", "yes " * (1 + i % 3), "no " * (1 + i % 2)) for i in range(70)]


def test_a_start_policy_shows_which_pairs_are_hard(llama: Path, tmp_path: Path) -> None:
    found = audit(PAIRS, policy=str(llama), out=tmp_path / "out", parts="agreement")
    assert found.rankings is not None and not found.rankings.moved and found.rankings.pairs == len(PAIRS)
    assert found.rankings.accuracy == found.rankings.reference
    kept = json.loads((tmp_path / "out" / "audit.json").read_text())["audit"]["rankings"]
    assert kept == json.loads(json.dumps(found.rankings.to_dict()))
    shown = build_report(tmp_path / "out").read_text()
    assert "Which pairs it ranks rightly" in shown and "reward accuracy" not in shown


def test_beside_its_start_a_policy_shows_what_training_changed(llama: Path, tmp_path: Path) -> None:
    options = {"batch": 8, "rounds": 4, "samples": 1, "sampling.limit": 4, "optim.lr": 0.05, "held_out": 0.0}
    guerdon.align(PAIRS, str(llama), "dpo", out=tmp_path / "run", **options)
    trained = str(tmp_path / "run" / "policy")
    found = audit(PAIRS, policy=trained, reference=str(llama), most_pairs=32, parts="agreement").rankings
    assert found is not None and found.moved and found.pairs == 32
    assert found.chosen - found.rejected > 0 and found.reward.estimate > 0.9
    assert found.accuracy.estimate >= found.reference.estimate


def test_what_cannot_be_ranked_is_said(llama: Path, gpt2: Path, refused: Refused, prefs: Path) -> None:
    assert "of shape" in refused("audit", prefs, "--policy", llama, "--reference", gpt2)
    assert "name it with --policy" in refused("audit", prefs, "--reference", llama)
    tied = [replace(pair, comparisons=(Comparison(0, 1, 0.5),)) for pair in PAIRS[:3]]
    with pytest.raises(GuerdonError, match="no record has one"):
        audit(tied, policy=str(llama), parts="agreement")
