"""The benchmark of re-scoring: its arms agree, its count is a count, and its page reads what run gives."""

import os
from pathlib import Path
from typing import Any

import pytest

from benchmarks import models, rescoring

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("GUERDON_DATA", ROOT.parent / "shared" / "data")) / "hh_rlhf"
SMALL = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
ROWS = [([1, 5, 6], [7, 2]), ([1, 5, 6], [8, 9, 10, 2]), ([1, 3], [4, 2]), ([1, 3], [9])]


def test_needed_operations_by_hand() -> None:
    """One layer: keys and values of seven tokens (a prompt of 3, responses of 2 and 2); queries, their outputs and the
    MLP of three, the prompt's last and each response's first, which see 3, 4 and 4; the head at four."""
    size = {"num_key_value_heads": 2, "hidden_size": 32, "intermediate_size": 64}
    rows = [([1, 5, 6], [7, 2]), ([1, 5, 6], [8, 2])]
    keys_and_values = 2 * 2 * 32 * 16 * 7
    queries_and_mlp = 2 * (32 * 32 + 32 * 32 + 3 * 32 * 64) * 3
    attention = 2 * 2 * 32 * (3 + 4 + 4)
    head = 2 * 32 * 8192 * 4
    assert rescoring.needed(rows, models.config(num_hidden_layers=1, **size)) == 3 * (
        keys_and_values + queries_and_mlp + attention + head
    )
    more = rescoring.needed(rows, models.config(num_hidden_layers=2, **size))
    whole = keys_and_values + 2 * (2 * 32 * 32 + 3 * 32 * 64) * 7 + 4 * 32 * (1 + 2 + 3 + 2 * (4 + 5))
    assert more == 3 * (keys_and_values + queries_and_mlp + attention + head + whole)


def test_every_step_gives_the_same_log_probs_and_gradient() -> None:
    found = {}
    for step in rescoring.STEPS:
        model = models.causal_lm(**SMALL)
        logp = rescoring.passes(model, ROWS, step)()
        found[step] = logp, [p.grad.clone() for p in model.parameters()]
    truth, gradients = found[rescoring.PLAIN]
    assert len(truth) == 9 and max(truth) < -1
    for logp, other in found.values():
        assert logp == pytest.approx(truth, abs=1e-5)
        for a, b in zip(other, gradients, strict=True):
            assert (a - b).abs().max() < 1e-5 * max(1, float(b.abs().max()))


@pytest.mark.data
@pytest.mark.skipif(not DATA.exists(), reason=f"needs hh_rlhf in {DATA.parent}")
def test_run_and_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a tiny model, in this process; the times are no matter."""
    monkeypatch.setattr(rescoring.measure, "matmul_peak", lambda: 1e11)
    monkeypatch.setattr(rescoring, "fresh", lambda call, settings, threads: getattr(rescoring, call[21:])(settings))
    result: dict[str, Any] = rescoring.run(pairs=2, prompts=1, repeats=1, threads=1, model=SMALL)
    assert set(result["sets"]) == {"pairs", "groups"}
    for kind, rows in (("pairs", 4), ("groups", 8)):
        x = result["sets"][kind]
        assert len(rescoring.rows_of(kind, x["count"])) == rows
        assert set(x["steps"]) == set(rescoring.STEPS)
        assert all(s["needed"] > 0 and "logp" not in s for s in x["steps"].values())
        assert set(x["reference"]) == {"computed", "computed and kept", "read from disk"}
    section = rescoring.page(result)
    same = [r for r in section.ratios if not r.at_least]
    assert len(same) == 2 and all(r.holds for r in same)
    for step in rescoring.STEPS:
        assert section.text.count(f"\n| {step} |") == 2
    assert "1 groups of 8 responses a prompt" in section.text
