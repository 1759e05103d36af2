"""Rewards against anchors: the checks of PAR, LSC and contrastive rewards, and which anchors a row is compared with."""

import math
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from guerdon.batch import Channel, Samples, Scores, Status
from guerdon.errors import GuerdonError, NeedsError
from guerdon.rewards.interface import Context, Reward, State
from guerdon.shaping import anchored_tanh, contrast, lsc, match_anchors, par, polynomial, relative, sgfc, zscore
from guerdon.shaping.anchored import above, log_sigmoid_above, mean_polynomial, mean_sigmoid

NAN = float("nan")
MAPS = [
    par(),
    par(2.0),
    lsc(),
    contrast(),
    contrast("max"),
    contrast("quantile"),
    anchored_tanh(),
    sgfc(),
    polynomial(),
]


def s(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def one(*refs: float) -> tuple[Tensor, Tensor]:
    return torch.tensor([refs]), torch.ones(1, len(refs), dtype=torch.bool)


def test_par_by_hand() -> None:
    """Card 8: r = 1, refs {0, 2} is 0.5·(σ(1) + σ(−1)) = 0.5 — the sigmoids are averaged."""
    refs, mask = one(0.0, 2.0)
    assert mean_sigmoid(torch.tensor([1.0]), refs, mask).item() == pytest.approx(0.5, abs=1e-7)
    assert mean_sigmoid(torch.tensor([3.0]), refs, mask).item() == pytest.approx((s(3) + s(1)) / 2, abs=1e-7)
    assert mean_sigmoid(torch.tensor([2.0]), *one(0.5)).item() == pytest.approx(s(1.5), abs=1e-7)


def test_par_at_its_own_level_is_a_half_with_slope_k_over_four() -> None:
    r = torch.tensor([0.7], requires_grad=True)
    value = mean_sigmoid(r, *one(0.7, 0.7, 0.7), k=3.0)
    value.sum().backward()
    assert value.item() == pytest.approx(0.5, abs=1e-7)
    assert r.grad is not None and r.grad.item() == pytest.approx(0.75, abs=1e-6)


@pytest.mark.parametrize("fn", MAPS, ids=lambda f: f"{f.name}{dict(f.options)}")
def test_anchor_maps_are_invariant_to_a_shift_and_blind_to_padding(fn) -> None:
    r, refs = torch.randn(5).double(), torch.randn(5, 4).double()
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0], [0, 0, 0, 1], [0, 1, 1, 0], [1, 0, 0, 0]]).bool()
    value = fn(r, refs, mask)
    torch.testing.assert_close(fn(r + 11.0, refs + 11.0, mask), value, rtol=0, atol=1e-10)
    for junk in (NAN, 1e9, float("inf")):
        asked = r.clone().requires_grad_()
        dirty = fn(asked, refs.masked_fill(~mask, junk), mask)
        assert torch.equal(dirty, value)
        dirty.sum().backward()
        assert asked.grad is not None and bool(asked.grad.isfinite().all())
    order = torch.tensor([2, 0, 3, 1])
    torch.testing.assert_close(fn(r, refs[:, order], mask[:, order]), value)


@pytest.mark.parametrize("fn", [par(), lsc(), contrast(), anchored_tanh(), sgfc(), polynomial()], ids=lambda f: f.name)
def test_anchor_maps_increase_with_the_reward(fn) -> None:
    r = torch.linspace(-4, 4, 33).double()
    refs, mask = torch.tensor([[-0.5, 0.5]]).double().expand(33, 2), torch.ones(33, 2, dtype=torch.bool)
    assert bool((fn(r, refs, mask).diff() > 0).all())


def test_lsc_by_hand() -> None:
    """Card 10: u < 0, → r − q far below, slope σ(q − r), and sums are logical AND."""
    refs, mask = one(0.0, 2.0)
    q = 1.0 + 1.0364333894937898 * math.sqrt(2.0)
    assert log_sigmoid_above(torch.tensor([q]), refs, mask).item() == pytest.approx(-math.log(2), abs=1e-6)
    assert log_sigmoid_above(torch.tensor([q - 1e4]), refs, mask).item() == pytest.approx(-1e4, rel=1e-6)
    r = torch.tensor([q - 1.0], requires_grad=True)
    log_sigmoid_above(r, refs, mask).sum().backward()
    assert r.grad is not None and r.grad.item() == pytest.approx(s(1.0), abs=1e-6)
    both = 2 * log_sigmoid_above(torch.tensor([0.0]), *one(0.0))
    assert both.item() == pytest.approx(-1.3862944, abs=1e-6)
    assert math.exp(both.item()) == pytest.approx(0.25, abs=1e-6)


def test_contrast_by_hand() -> None:
    refs, mask = one(1.0, 2.0, 6.0)
    assert above(torch.tensor([4.0]), refs, mask).item() == 1.0
    assert above(torch.tensor([4.0]), refs, mask, "max").item() == -2.0
    with pytest.raises(GuerdonError, match="'mean', 'max'"):
        above(torch.tensor([4.0]), refs, mask, "min")  # type: ignore[arg-type]


def test_tanh_slow_growth_and_polynomial() -> None:
    refs, mask = one(0.0, 2.0)
    r = torch.tensor([1.0])
    assert anchored_tanh()(torch.tensor([2.0]), refs, mask).item() == pytest.approx(math.tanh(2) / 2, abs=1e-6)
    assert sgfc()(r, refs, mask).item() == pytest.approx((s(-2) + s(-4)) / 2, abs=1e-7)
    gaps = torch.linspace(-5, 5, 101).double()
    fitted = mean_polynomial(gaps, torch.zeros(101, 1).double(), torch.ones(101, 1, dtype=torch.bool))
    assert (fitted - torch.sigmoid(gaps)).abs().max().item() < 0.03
    assert mean_polynomial(torch.tensor([0.0]), *one(0.0)).item() == pytest.approx(0.5, abs=1e-9)
    outside = mean_polynomial(torch.tensor([-5.1, 5.1]), torch.zeros(2, 1), torch.ones(2, 1, dtype=torch.bool))
    assert outside.tolist() == [0.0, 1.0]


def test_shapes_are_checked() -> None:
    with pytest.raises(GuerdonError, match=r"\[N,M\]"):
        par()(torch.zeros(2), torch.zeros(3, 1), torch.ones(3, 1, dtype=torch.bool))


@dataclass
class Length(Reward):
    """Reward of the tests: length of the response, counting its calls; None for 'bad'."""

    name: str = "length"
    calls: int = 0

    def score(self, samples: Samples, state: State, context: Context) -> tuple[Scores, State]:
        self.calls += 1
        return Scores({self.name: Channel.of([None if t == "bad" else float(len(t)) for t in samples.texts()])}), state


def rows(*pairs: tuple[str, str]) -> Samples:
    return Samples(None, [p for p, _ in pairs], [r for _, r in pairs])


ANCHORS = rows(("b", "x"), ("a", "xx"), ("a", "xxxx"), ("b", "bad"), ("c", "bad"))


def test_match_anchors_is_ragged() -> None:
    index, mask = match_anchors(["a", "z", "b"], ["b", "a", "a", "b", "c"])
    assert mask.tolist() == [[True, True], [False, False], [True, True]]
    assert index[mask].tolist() == [1, 2, 0, 3]


def test_a_reward_relative_to_itself() -> None:
    base = Length()
    node = relative(base, ANCHORS, contrast())
    scores, state = node.score(rows(("a", "xxxxx"), ("b", "xxx"), ("a", "x")), node.init(), Context())
    assert scores.only().value.tolist() == [2.0, 2.0, -2.0]
    assert scores.names() == node.channels == ("contrast(length)",)
    assert base.calls == 2
    node.score(rows(("a", "xxxxx")), state, Context())
    assert base.calls == 3  # the anchors' scores are kept


def test_a_prompt_without_valid_anchors_is_not_applicable() -> None:
    node = relative(Length(), ANCHORS)
    scores, _ = node.score(rows(("a", "xxx"), ("z", "xxx"), ("c", "xxx"), ("a", "bad")), {}, Context())
    channel = scores.only()
    assert channel.statuses().tolist() == [0] + [int(Status.NOT_APPLICABLE)] * 3
    assert channel.note is not None and "anchor" in channel.note[1] and channel.note[0] == ""
    assert channel.value[0].item() == pytest.approx((s(1) + s(-1)) / 2)
    assert channel.value[1:].isnan().all()


def test_anchors_may_come_with_the_context_and_change() -> None:
    base = Length()
    node = relative(base, fn=contrast())
    with pytest.raises(NeedsError, match="anchors"):
        node.score(rows(("a", "x")), {}, Context())
    first, state = node.score(rows(("a", "x")), {}, Context(anchors=ANCHORS))
    assert first.only().value.tolist() == [-2.0]
    second, _ = node.score(rows(("a", "x")), state, Context(anchors=rows(("a", "xxxxxxx"))))
    assert second.only().value.tolist() == [-6.0]


def test_anchors_of_a_stateful_reward_follow_its_state() -> None:
    """Both sides are read with the state the samples were scored with, and the anchors never update it."""
    base = Length()
    node = relative(base.pipe(zscore("running", eps=0.0)), ANCHORS, contrast())
    samples = rows(("a", "x"), ("a", "xxxxx"))
    scores, state = node.score(samples, node.init(), Context())
    # mean 3, std √8: samples −2, 2 and anchors of 'a' −1, 1 in units of √8
    assert scores.only().value.tolist() == pytest.approx([-2 / math.sqrt(8), 2 / math.sqrt(8)])
    again, after = node.score(samples, state, Context(training=False))
    assert again.only().value.tolist() == scores.only().value.tolist()
    assert base.calls == 4
    assert after == state
