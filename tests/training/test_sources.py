"""Sources are functions of a position."""

from __future__ import annotations

import pytest
import torch

from guerdon.batch import Pairs, Samples, Seed
from guerdon.errors import DataError, GuerdonError
from guerdon.training import Prompts, Recorded


def drawn(source: Prompts, draws: int) -> list[str]:
    out: list[str] = []
    position = 0
    for _ in range(draws):
        draw = source.draw(position)
        out, position = [*out, *draw.starts], draw.position
    return out


def test_every_item_comes_once_an_epoch_in_an_order_of_its_own() -> None:
    source = Prompts(list("abcdefg"), per_round=3)
    got = drawn(source, 7)  # 21 items, three epochs; draws cross their borders
    epochs = [got[k : k + 7] for k in (0, 7, 14)]
    assert all(sorted(e) == list("abcdefg") for e in epochs)
    assert epochs[0] != epochs[1] != epochs[2]
    # The position alone decides: a draw from the middle is the same.
    assert source.draw(9).starts == got[9:12]
    assert drawn(Prompts(list("abcdefg"), 3, seed=None), 3) == list("abcdefgab")
    assert drawn(Prompts(list("abcdefg"), 3, seed=Seed(1)), 7) != got


def test_columns_follow_their_starts() -> None:
    draw = Prompts(["a", "b", "c"], 3, columns={"answer": [1, 2, 3]}).draw(0)
    assert [{"a": 1, "b": 2, "c": 3}[s] for s in draw.starts] == draw.columns["answer"]
    with pytest.raises(DataError, match=r"columns\['answer'\] must hold 3 values"):
        Prompts(["a", "b", "c"], 3, columns={"answer": [1]})


def test_nothing_to_train_on_is_an_error() -> None:
    with pytest.raises(DataError, match="holds nothing to train on"):
        Prompts([], 1)
    with pytest.raises(GuerdonError, match="per_round must be at least 1"):
        Prompts(["a"], 0)


def recorded(per_round: int = 2, seed: Seed | None = None) -> Recorded:
    samples = Samples(None, ["p", "p", "p", "q", "q", "r", "r"], list("abcdefg"))
    pairs = Pairs(torch.tensor([0, 0, 3, 6]), torch.tensor([1, 2, 4, 5]), margin=torch.tensor([1.0, 2.0, 3.0, 4.0]))
    return Recorded(samples, per_round, pairs, {"gold": torch.tensor([0, 5])}, seed)


def test_pairs_bring_their_rows_once() -> None:
    draw = recorded().draw(0)
    assert draw.samples is not None and draw.pairs is not None and draw.ids is not None
    assert list(draw.samples.responses or ()) == ["a", "b", "c"]  # row 0 stands in both pairs
    assert draw.pairs.winner.tolist() == [0, 0] and draw.pairs.loser.tolist() == [1, 2]
    assert draw.pairs.margin is not None and draw.pairs.margin.tolist() == [1.0, 2.0]
    assert draw.rows["gold"].tolist() == [0]
    assert draw.ids.tolist() == [0, 1, 2]
    after = recorded().draw(draw.position)
    assert after.samples is not None and after.pairs is not None
    assert list(after.samples.responses or ()) == ["d", "e", "f", "g"]
    assert after.pairs.winner.tolist() == [0, 3] and after.rows["gold"].tolist() == [2]


def test_held_out_parts_prompts_not_rows() -> None:
    train, held = recorded().held_out(0.34, Seed(0))
    sides = [set(s.samples.prompts) for s in (train, held)]
    assert sides[0] & sides[1] == set() and sides[0] | sides[1] == {"p", "q", "r"}
    assert len(train) + len(held) == 4
    chunks = list(held.chunks(1))
    assert sum(len(c.pairs or ()) for c in chunks) == len(held)
    with pytest.raises(GuerdonError, match="at least two prompts"):
        Recorded(Samples(None, ["p", "p"], ["a", "b"]), 1).held_out(0.5, Seed(0))
