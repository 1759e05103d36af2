"""Lists of rows: what they refuse, how they rank, and that no split parts them."""

from __future__ import annotations

import pytest
import torch

from guerdon.batch import Batch, Lists, Pairs, Samples
from guerdon.errors import GuerdonError
from guerdon.training import Recorded

THREE = Lists(
    torch.tensor([[3, 1, 0], [2, 4, -1]]),
    torch.tensor([[0.5, 2.0, 0.5], [1.0, -1.0, float("nan")]]),
    torch.tensor([1.0, 2.0]),
)


def batch(**more) -> Batch:
    return Batch(columns={"number": torch.arange(6)}, **more)


def test_values_and_ranks_leave_absent_rows_out():
    assert THREE.mask.tolist() == [[True, True, True], [True, True, False]]
    assert THREE.values()[1].tolist() == [1.0, -1.0, 0.0]
    assert THREE.ranking().tolist() == [[1, 0, 2], [0, 1, 2]]  # a tie keeps its order
    assert THREE.sorted().rows.tolist() == [[1, 3, 0], [2, 4, -1]]
    assert Lists(THREE.rows).weights().tolist() == [1.0, 1.0]


def test_what_is_refused():
    with pytest.raises(GuerdonError, match="row numbers, or -1"):
        Lists(torch.tensor([[-2, 0]]))
    with pytest.raises(GuerdonError, match="Lists"):
        Lists(torch.tensor([[0, 1]]), torch.ones(2, 2))
    with pytest.raises(GuerdonError, match="carry no values"):
        Lists(torch.tensor([[0, 1]])).ranking()
    with pytest.raises(GuerdonError, match=r"lists\.rows"):
        batch(lists=Lists(torch.tensor([[0, 6]])))
    with pytest.raises(GuerdonError, match="list 1 would lose some"):
        batch(lists=THREE, block=torch.arange(6)).take(torch.tensor([0, 1, 2, 3]))


def test_rows_of_lists_and_pairs_stay_together():
    whole = batch(lists=THREE, pairs=Pairs(torch.tensor([4]), torch.tensor([5])))
    assert whole.blocks().tolist() == [0, 0, 2, 0, 2, 2]
    parts = whole.split(2)
    assert [p.columns["number"].tolist() for p in parts] == [[0, 1, 3], [2, 4, 5]]
    assert [p.lists.rows.tolist() for p in parts] == [[[2, 1, 0]], [[0, 1, -1]]]
    assert [p.lists.weights().tolist() for p in parts] == [[1.0], [2.0]]


def test_a_source_draws_whole_lists_with_their_rows():
    samples = Samples(None, list("ppqpqr"), list("abcdef"))
    source = Recorded(samples, 1, seed=None, lists=THREE)
    assert len(source) == 2 and source.gives == ("lists",)
    first, second = source.draw(0), source.draw(1)
    assert first.samples.responses == ["a", "b", "d"] and first.lists.rows.tolist() == [[2, 1, 0]]
    assert second.samples.responses == ["c", "e"] and second.lists.rows.tolist() == [[0, 1, -1]]
    assert second.ids.tolist() == [2, 4] and source.draw(2).ids.tolist() == [0, 1, 3]
    with pytest.raises(GuerdonError, match="pairs or lists"):
        Recorded(samples, 1, Pairs(torch.tensor([0]), torch.tensor([1])), lists=THREE)
