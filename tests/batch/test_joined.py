"""Rows of several samplings as one."""

from dataclasses import dataclass

import pytest
import torch

from guerdon.batch import Samples, TokenRows
from guerdon.batch.joined import joined
from guerdon.errors import GuerdonError


def tokens(rows: list[list[int]], temperature: float = 1.0) -> TokenRows:
    width = max(map(len, rows))
    live = torch.tensor([[i < len(r) for i in range(width)] for r in rows])
    ids = torch.tensor([[*r, *[7] * (width - len(r))] for r in rows])
    spans = {"turn": torch.where(live, 0, -1)}
    return TokenRows(ids, live, live.clone(), torch.where(live, -0.5, 0.0), temperature, spans)


def test_token_rows_are_padded_to_the_widest():
    a = Samples(tokens([[1, 2]]), ["p"], ["x"], terminated=torch.tensor([True]), columns={"k": [1], "l": [2]})
    b = Samples(
        tokens([[3, 4, 5], [6]]), ["q", "p"], ["y", "z"], terminated=torch.tensor([True, False]), columns={"k": [3, 4]}
    )
    both = joined([a, b])
    assert both.payload.response.tolist() == [[True, True, False], [True, True, True], [True, False, False]]
    assert both.payload.attention.equal(both.payload.response)
    assert both.payload.ids[1].tolist() == [3, 4, 5]
    assert both.payload.logp[0].tolist() == [-0.5, -0.5, 0.0]
    assert both.payload.spans["turn"][0].tolist() == [0, 0, -1]
    assert both.partition("prompt").ids.tolist() == [0, 1, 0]  # one prompt, drawn for twice
    assert (both.responses, both.columns) == (["x", "y", "z"], {"k": [1, 3, 4]})
    assert both.terminated is not None and both.terminated.tolist() == [True, True, False]
    assert both.truncated is None


@dataclass(frozen=True)
class Rows:
    number: torch.Tensor
    extra: torch.Tensor | None = None
    temperature: float = 1.0

    def __len__(self) -> int:
        return len(self.number)


def test_other_payloads_field_by_field():
    both = joined([Samples(Rows(torch.tensor([1])), ["p"]), Samples(Rows(torch.tensor([2, 3])), ["p", "q"])])
    assert both.payload.number.tolist() == [1, 2, 3] and both.payload.extra is None
    listed = joined([Samples(["a"], ["p"]), Samples(["b"], ["q"])])
    assert listed.payload == ["a", "b"]
    stacked = joined([Samples(torch.zeros(1, 2), ["p"]), Samples(torch.ones(2, 2), ["q", "r"])])
    assert stacked.payload.sum(-1).tolist() == [0, 2, 2]


def test_what_cannot_be_joined_is_said():
    with pytest.raises(GuerdonError, match="'temperature'"):
        joined([Samples(tokens([[1]]), ["p"]), Samples(tokens([[1]], 0.5), ["p"])])
    with pytest.raises(GuerdonError, match="'temperature'"):
        joined([Samples(Rows(torch.tensor([1])), ["p"]), Samples(Rows(torch.tensor([1]), None, 2.0), ["p"])])
    with pytest.raises(GuerdonError, match="one kind"):
        joined([Samples(["a"], ["p"]), Samples(torch.zeros(1), ["p"])])
    with pytest.raises(GuerdonError, match="type str"):
        joined([Samples("a", ["p"]), Samples("b", ["q"])])
    with pytest.raises(GuerdonError, match="at least one"):
        joined([])
