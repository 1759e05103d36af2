"""Attention over packs by segments and by tiles, the normalisation, and which backbones may be read so."""

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from guerdon.worlds.text import forest, segments, token_rows
from guerdon.worlds.text.heads import find_head
from guerdon.worlds.text.packs import Pack, packs
from guerdon.worlds.text.rms import normed
from guerdon.worlds.text.segments import Asked, by_segments
from guerdon.worlds.text.tiles import by_tiles, tiles
from tests.worlds.tiny import tiny

# Three responses to one prompt (one of a single token), two to another, a row alone, and a long one.
PROMPTS = [[1, 5, 6, 7]] * 3 + [[1, 9]] * 2 + [[1], [1, 4]]
RESPONSES = [[8, 9], [8], [7, 6, 5, 4, 3], [5, 5], [6], [7, 8, 9], list(range(2, 30))]


def pack() -> Pack:
    """All rows in one pack."""
    (only,) = packs(token_rows(PROMPTS, RESPONSES), 10_000)
    return only


def asked_of(given: Pack, partly: bool) -> list[Asked]:
    """Every token, or the later ones of every second segment."""
    whole = [(s, s.start) for s in given.segments]
    return [(s, (s.start + s.stop) // 2) for s, _ in whole[::2]] if partly else whole


def leaves_of(given: Pack, asked: Sequence[Asked], groups: int, dtype: torch.dtype, behind: int = 0) -> list[Tensor]:
    """Queries, keys and values with gradient; ``behind`` rows more than are asked."""
    g = torch.Generator().manual_seed(0)
    n, m = sum(s.stop - first for s, first in asked) + behind, len(given.ids)
    sizes = ((n, 4), (m, groups), (m, groups))
    return [torch.randn(size, h, 8, generator=g, dtype=dtype).requires_grad_() for size, h in sizes]


def by_hand(q: Tensor, k: Tensor, v: Tensor, asked: Sequence[Asked], scale: float) -> Tensor:
    """A token at a time: softmax over the tokens it sees, a head at a time."""
    each, rows = q.shape[1] // k.shape[1], iter(q)
    out = []
    for s, first in asked:
        for t in range(first, s.stop):
            seen = [*range(s.trunk, s.trunk + s.before), *range(s.start, t + 1)]
            heads = enumerate(next(rows))
            weights = [(scale * (k[seen, h // each] @ query)).softmax(0) for h, query in heads]
            out.append(torch.stack([w @ v[seen, h // each] for h, w in enumerate(weights)]))
    return torch.stack(out)


@pytest.mark.parametrize("partly", [False, True])
@pytest.mark.parametrize("groups", [4, 2, 1])
@pytest.mark.parametrize("look", ["kept", "blocks", "flash", "tiles"])
def test_attention_sees_what_a_row_of_its_own_would_see(
    look: str, partly: bool, groups: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Value and gradients, also where heads share keys, in float64: segments with their weights kept, whole or in
    blocks of queries, long ones by torch's own attention, and the tiles of devices other than CPUs."""
    monkeypatch.setattr(segments, "SHORT", 0 if look == "flash" else 512)
    monkeypatch.setattr(segments, "BLOCK", 3 if look == "blocks" else 128)
    given = pack()
    asked = asked_of(given, partly)
    leaves = leaves_of(given, asked, groups, torch.float64)
    upstream = torch.randn(leaves[0].shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    found = []
    for attend in (by_hand, by_tiles if look == "tiles" else by_segments):
        out = attend(*leaves, asked, 0.3)
        found.append((out, *torch.autograd.grad((out * upstream).sum(), leaves)))
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, atol=1e-13, rtol=1e-13)


@pytest.mark.parametrize("short", [512, 0])
def test_rows_behind_the_asked_give_nothing(short: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows that only fill a product up: no value, no gradient, and no other value for the rest."""
    monkeypatch.setattr(segments, "SHORT", short)
    given = pack()
    asked = asked_of(given, True)
    q, k, v = leaves_of(given, asked, 2, torch.float32, behind=5)
    out = by_segments(q, k, v, asked, 0.3)
    assert len(out) == len(q)
    assert not out[-5:].any()
    assert torch.equal(out[:-5], by_segments(q[:-5], k, v, asked, 0.3))
    (to_q,) = torch.autograd.grad(out.sum(), [q])
    assert to_q[:-5].any()
    assert not to_q[-5:].any()


def test_kept_attention_is_the_same_to_the_bit_without_gradient_and_under_autocast() -> None:
    """So that a policy and its own copy, read without gradient, agree exactly."""
    given = pack()
    asked = asked_of(given, False)
    leaves = leaves_of(given, asked, 4, torch.float32)
    out = by_segments(*leaves, asked, 0.3)
    with torch.no_grad():
        assert torch.equal(out, by_segments(*leaves, asked, 0.3))
        with torch.autocast("cpu", torch.bfloat16):
            assert torch.equal(out, by_segments(*leaves, asked, 0.3))


def test_weights_are_kept_for_short_segments_of_wide_numbers_alone() -> None:
    (long,) = packs(token_rows([[1] * 400], [[2] * (segments.SHORT - 399)]), 10_000)
    cases = ((pack(), torch.float32, True), (pack(), torch.bfloat16, False), (long, torch.float32, False))
    for given, dtype, kept in cases:
        asked = asked_of(given, False)
        out = by_segments(*leaves_of(given, asked, 4, dtype), asked, 0.3)
        assert ("_Kept" in type(out.grad_fn).__name__) == kept


def test_tiles_hold_every_asked_token_once() -> None:
    given = pack()
    for partly in (False, True):
        asked = asked_of(given, partly)
        held = torch.cat([t.queries[t.real] for t in tiles(asked, torch.device("cpu"))])
        expected = torch.cat([torch.arange(first, s.stop) for s, first in asked])
        assert torch.equal(held.sort().values, expected.sort().values)


def test_a_prompt_stands_once_in_a_pack() -> None:
    given = pack()
    shared = len(PROMPTS[0]) + len(PROMPTS[3])
    rest = len(PROMPTS[5]) + len(PROMPTS[6]) + sum(map(len, RESPONSES))
    assert len(given.ids) == shared + rest
    assert given.position.max() == len(PROMPTS[6]) + len(RESPONSES[6]) - 1
    assert [s.stop for s in given.segments][:-1] == [s.start for s in given.segments][1:]


STILL = torch.tensor([False, True, False, True, True, True, False])
"""Of the three rows of a prompt one, both of another prompt, a row alone."""


def test_still_segments_stand_last() -> None:
    (given,) = packs(token_rows(PROMPTS, RESPONSES), 10_000, still=STILL)
    moving = len(PROMPTS[0]) + len(PROMPTS[6]) + sum(len(r) for r, s in zip(RESPONSES, STILL, strict=True) if not s)
    assert given.moving == moving
    assert pack().moving == len(pack().ids) == len(given.ids)
    own = given.own < given.moving
    assert torch.equal(own, ~STILL[given.row])
    assert own.sort(descending=True).values.equal(own)
    assert [s.stop for s in given.segments][:-1] == [s.start for s in given.segments][1:]


@pytest.mark.parametrize("still", [STILL, ~STILL, torch.ones_like(STILL)])
def test_still_rows_have_the_same_states_and_give_no_gradient(still: Tensor) -> None:
    """To float32's rounding: products over fewer rows at once may add up in another order."""
    model = tiny("llama").model.eval()
    found, gradients = [], []
    for flags in (None, still):
        (given,) = packs(token_rows(PROMPTS, RESPONSES), 10_000, still=flags)
        order = given.place.argsort()
        states = forest.states(model, given, given.read)[order]
        found.append(states.detach())
        moves = ~still[given.row[order]]
        loss = torch.where(moves[:, None], states.square(), 0).sum()
        asked = [p for p in model.parameters() if p.requires_grad]
        got = torch.autograd.grad(loss, asked, allow_unused=True) if loss.requires_grad else [None] * len(asked)
        gradients.append([torch.zeros_like(p) if g is None else g for g, p in zip(got, asked, strict=True)])
    torch.testing.assert_close(*found, atol=1e-5, rtol=1e-5)
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)
    behind = given.read[given.read >= given.moving]
    states = forest.states(model, given, behind)
    assert len(behind)
    assert not states.requires_grad or not any(
        g.any() for g in torch.autograd.grad(states.sum(), asked, allow_unused=True) if g is not None
    )


def test_still_branches_of_one_token_read_nothing_of_their_own() -> None:
    """Their only label is predicted by the trunk, so that no token behind the cut is asked for."""
    rows = token_rows([[1, 5, 6]] * 3, [[8, 9], [8], [7]])
    (given,) = packs(rows, 10_000, still=torch.tensor([False, True, True]))
    assert int((given.read >= given.moving).sum()) == 0
    (plain,) = packs(rows, 10_000)
    model = tiny("llama").model.eval()
    found = [forest.states(model, p, p.read)[p.place.argsort()].detach() for p in (given, plain)]
    torch.testing.assert_close(*found, atol=1e-5, rtol=1e-5)


def test_the_normalisation_is_transformers_own() -> None:
    """Value and both gradients, to a few roundings of float32."""
    from transformers.models.llama.modeling_llama import LlamaRMSNorm

    g = torch.Generator().manual_seed(1)
    norm = LlamaRMSNorm(16, eps=1e-5)
    with torch.no_grad():
        norm.weight.copy_(torch.randn(16, generator=g))
    x, upstream = (torch.randn(7, 16, generator=g) for _ in range(2))
    x[3] = 0.0  # a row of zeros is finite through ε
    x.requires_grad_()
    mine, theirs = normed(norm, x), norm(x)
    torch.testing.assert_close(mine, theirs, atol=1e-6, rtol=1e-6)
    got, want = (torch.autograd.grad((y * upstream).sum(), [x, norm.weight]) for y in (mine, theirs))
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)


def test_rotary_tables_that_hang_on_the_longest_row_are_left_to_the_model() -> None:
    """'dynamic' scaling changes with the longest row of a call, which no short probe sees."""
    model = tiny("llama", rope_scaling={"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10000.0})
    head = find_head(model)
    assert (head.linear, head.packs, head.masks, head.fast) == (True, False, 0, False)
    assert find_head(tiny("llama")).packs


def test_dropout_and_checkpointing_are_left_to_the_model() -> None:
    assert not forest.supported(tiny("llama", attention_dropout=0.1).model)
    model = tiny("llama")
    model.gradient_checkpointing_enable()
    assert not forest.supported(model.model)
