"""Transforms: values by hand, invalid entries, running statistics, spread."""

import math

import pytest
import torch

from guerdon.batch import Channel, Partition, Samples, Status, TokenRows
from guerdon.errors import GuerdonError, NeedsError
from guerdon.rewards.interface import Context, Transform
from guerdon.shaping import (
    affine,
    centre,
    clip,
    length_residual,
    linear_length,
    log_sigmoid,
    minmax,
    offset,
    pointwise,
    running_clip,
    scale,
    sigmoid,
    soft_overlong,
    soft_overlong_penalty,
    tanh,
    zscore,
)
from guerdon.shaping.groups import centred, ids_like, standardised

NAN = float("nan")
TRAIN, EVAL = Context(training=True), Context(training=False)
ALL = [
    affine(2.0, 1.0),
    scale(-3.0),
    offset(1.0),
    clip(-1.0, 1.0),
    sigmoid(2.0),
    log_sigmoid(),
    tanh(),
    centre("prompt"),
    centre("running"),
    zscore("prompt"),
    zscore("batch"),
    zscore("running"),
    minmax("prompt"),
    minmax("running"),
    running_clip(),
    soft_overlong(4, 2, column="length"),
    linear_length(2, 0.5, column="length"),
    length_residual(column="length"),
    pointwise(lambda x: (x.square(), 2 * x), "square"),
]


def samples(prompts: str, **columns: list[float]) -> Samples:
    return Samples(None, list(prompts), columns=columns)


def run(transform: Transform, values: list[float | None], prompts: str = "", context: Context = TRAIN) -> list[float]:
    channel = Channel.of(values)
    rows = samples(prompts or "a" * len(values), length=[float(i + 1) for i in range(len(values))])
    return transform.apply(channel, rows, transform.init(), context)[0].value.tolist()


@pytest.mark.parametrize("transform", ALL, ids=lambda t: t.name)
def test_every_transform_keeps_invalid_invalid(transform: Transform) -> None:
    """Invalid entries change no other value, carry no gradient, and stay what they were."""
    assert isinstance(transform, Transform)
    assert hash(transform) is not None
    rows = samples("aabb", length=[1.0, 2.0, 3.0, 4.0])
    status = torch.tensor([0, int(Status.FAILED), 0, int(Status.NOT_APPLICABLE)], dtype=torch.int8)
    seen = []
    for junk in (NAN, 1e9):
        value = torch.tensor([0.5, junk, -0.25, junk], requires_grad=True)
        out, state = transform.apply(Channel(value, status, note=["", "x", "", "y"]), rows, transform.init(), TRAIN)
        assert out.value[[1, 3]].isnan().all()
        assert torch.equal(out.statuses(), status) and out.note == ["", "x", "", "y"]
        out.filled().sum().backward()
        assert value.grad is not None and value.grad[[1, 3]].tolist() == [0.0, 0.0]
        assert value.grad.isfinite().all()
        seen.append((out.filled().detach(), state))
    assert torch.equal(seen[0][0], seen[1][0])
    assert {k: float(v) for k, v in seen[0][1].items()} == {k: float(v) for k, v in seen[1][1].items()}


def test_pointwise_values() -> None:
    assert run(affine(2.0, 1.0), [1.0, -1.0]) == [3.0, -1.0]
    assert run(clip(-1.0, 0.5), [-2.0, 0.25, 2.0]) == [-1.0, 0.25, 0.5]
    assert run(clip(high=1.0), [-9.0, 9.0]) == [-9.0, 1.0]
    assert run(sigmoid(2.0, 1.0), [1.0, 1.5]) == pytest.approx([0.5, 1 / (1 + math.exp(-1.0))])
    assert run(tanh(), [0.5]) == pytest.approx([math.tanh(0.5)])
    assert run(pointwise(lambda x: (x.square(), 2 * x), "square"), [3.0, None])[0] == 9.0


def test_log_sigmoid_survives_large_values() -> None:
    values = run(log_sigmoid(), [0.0, -1e4, 1e4])
    assert values == pytest.approx([-math.log(2.0), -1e4, 0.0])


def test_clip_refuses_an_empty_range() -> None:
    with pytest.raises(GuerdonError, match="low <= high"):
        clip(1.0, 0.0)
    with pytest.raises(GuerdonError, match="low or a high"):
        clip()


def test_group_statistics_are_ragged_and_leave_invalid_out() -> None:
    assert run(centre("prompt"), [1.0, 10.0, 3.0, None, 20.0], "ababb")[:3] == [-1.0, -5.0, 1.0]
    out = run(zscore("prompt", eps=0.0), [1.0, 10.0, 3.0, None, 20.0], "ababb")
    root = math.sqrt(0.5)
    assert [out[i] for i in (0, 1, 2, 4)] == pytest.approx([-root, -root, root, root])
    assert run(zscore("batch", eps=0.0, correction=0), [1.0, 3.0], "ab") == [-1.0, 1.0]
    assert run(minmax("prompt"), [1.0, 10.0, 3.0, 5.0, 25.0], "ababb") == [0.0, 0.25, 1.0, 0.0, 1.0]
    assert run(minmax("batch"), [1.0, 2.0, 5.0]) == [0.0, 0.25, 1.0]


@pytest.mark.parametrize("value", [0.1, 1e6, -3.3])
def test_no_variance_is_exactly_zero(value: float) -> None:
    assert run(zscore("prompt", eps=1e-9), [value] * 7) == [0.0] * 7
    assert run(zscore("prompt"), [value]) == [0.0]
    assert run(minmax("prompt"), [value] * 3) == [0.5] * 3
    assert run(minmax("running"), [value] * 3) == [0.5] * 3
    assert run(zscore("running"), [value] * 3) == [0.0] * 3


def test_running_moments_are_those_of_everything_seen() -> None:
    """The current batch enters before it is used; evaluation is frozen (imitation updates by default)."""
    transform, state = zscore("running", eps=0.0), zscore("running").init()
    batches = [torch.randn(n) * 3 + 5 for n in (4, 1, 9)]
    seen = torch.empty(0)
    for batch in batches:
        out, state = transform.apply(Channel(batch), samples("a" * len(batch)), state, TRAIN)
        seen = torch.cat([seen, batch])
        if len(seen) > 1:
            torch.testing.assert_close(out.value, (batch - seen.mean()) / seen.std())
    probe = torch.tensor([100.0, -100.0])
    out, after = transform.apply(Channel(probe), samples("aa"), state, EVAL)
    assert after is state
    torch.testing.assert_close(out.value, (probe - seen.mean()) / seen.std())


def test_the_state_is_never_changed_in_place() -> None:
    for transform in (zscore("running"), minmax("running"), running_clip(), centre("running")):
        first = transform.init()
        copy = {k: v.clone() for k, v in first.items()}
        transform.apply(Channel(torch.tensor([1.0, 2.0])), samples("aa"), first, TRAIN)
        assert all(torch.equal(first[k], copy[k]) for k in copy)


def test_a_large_mean_costs_no_digits() -> None:
    transform, state = zscore("running", eps=0.0), zscore("running").init()
    for _ in range(50):
        _, state = transform.apply(Channel(torch.tensor([1e6, 1e6 + 1])), samples("aa"), state, TRAIN)
    out, _ = transform.apply(Channel(torch.tensor([1e6 + 1])), samples("a"), state, EVAL)
    assert out.value.item() == pytest.approx(0.5 / math.sqrt(0.25 * 100 / 99), rel=1e-7)


def test_running_transforms_before_any_data() -> None:
    assert run(zscore("running"), [3.0, 4.0], context=EVAL) == [3.0, 4.0]
    assert run(minmax("running"), [3.0, 4.0], context=EVAL) == [0.5, 0.5]
    assert run(running_clip(), [3.0, 4.0], context=EVAL) == [3.0, 4.0]


def test_running_minmax_and_clip() -> None:
    transform, state = minmax("running"), minmax("running").init()
    _, state = transform.apply(Channel(torch.tensor([0.0, 4.0])), samples("aa"), state, TRAIN)
    out, _ = transform.apply(Channel(torch.tensor([4.0, 0.0, 8.0])), samples("aaa"), state, EVAL)
    assert out.value.tolist() == [1.0, 0.0, 2.0]
    # mean 2, unbiased std 2 of [0, 2, 4]
    assert run(running_clip(0.5), [0.0, 2.0, 4.0]) == [1.0, 2.0, 3.0]


def test_spread_follows_the_slope() -> None:
    channel = Channel(torch.tensor([1.0, 3.0]), spread=torch.tensor([0.5, 1.0]))
    rows = samples("aa", length=[1.0, 9.0])

    def spread(transform: Transform) -> list[float]:
        out = transform.apply(channel, rows, transform.init(), TRAIN)[0].spread
        assert out is not None
        return out.tolist()

    assert spread(affine(-2.0, 5.0)) == [1.0, 2.0]
    assert spread(centre()) == [0.5, 1.0]
    root = math.sqrt(2.0)
    assert spread(zscore("prompt", eps=0.0)) == pytest.approx([0.5 / root, 1 / root])
    assert spread(minmax()) == pytest.approx([0.25, 0.5])
    flat = Channel(torch.tensor([2.0, 2.0]), spread=torch.tensor([0.5, 1.0]))
    kept = zscore().apply(flat, rows, {}, TRAIN)[0].spread
    assert kept is not None and kept.tolist() == [0.5, 1.0]
    assert spread(clip(high=2.0)) == [0.5, 0.0]
    assert spread(soft_overlong(4, 2, column="length")) == [0.5, 1.0]
    half = 1 / (1 + math.exp(-1.0))
    assert spread(sigmoid())[0] == pytest.approx(0.5 * half * (1 - half))


def test_step_channels_use_row_groups() -> None:
    value = torch.tensor([[1.0, NAN], [3.0, 5.0]])
    status = torch.tensor([[0, 1], [0, 0]], dtype=torch.int8)
    out, _ = centre("prompt").apply(Channel(value, status), samples("aa"), {}, TRAIN)
    assert out.filled().tolist() == [[-2.0, 0.0], [0.0, 2.0]]


def test_soft_overlong_is_dapos() -> None:
    length = torch.tensor([10, 80, 90, 100, 120])
    assert soft_overlong_penalty(length, 100, 20).tolist() == [0.0, 0.0, -0.5, -1.0, -1.0]
    with pytest.raises(GuerdonError, match="buffer"):
        soft_overlong(10, 20)


def test_lengths_come_from_the_tokens_the_actor_chose() -> None:
    response = torch.tensor([[False, True, True, True], [False, True, False, False]])
    rows = Samples(TokenRows(torch.zeros(2, 4, dtype=torch.int64), torch.ones(2, 4, dtype=torch.bool), response), "ab")
    out, _ = linear_length(1, 0.5).apply(Channel(torch.tensor([1.0, 1.0])), rows, {}, TRAIN)
    assert out.value.tolist() == [0.0, 1.0]
    with pytest.raises(NeedsError, match="column"):
        linear_length(1, 0.5).apply(Channel(torch.tensor([1.0])), samples("a"), {}, TRAIN)


def test_length_residual_removes_a_line_and_keeps_the_mean() -> None:
    rows = samples("aaaa", length=[1.0, 2.0, 3.0, 4.0])
    quality = torch.tensor([1.0, -1.0, -1.0, 1.0])  # uncorrelated with length
    out, _ = length_residual(column="length").apply(Channel(quality + 3 * torch.arange(1.0, 5.0)), rows, {}, TRAIN)
    torch.testing.assert_close(out.value, quality + 7.5)


def test_spread_is_a_number_not_a_path_for_gradients() -> None:
    value = torch.tensor([1.0, 3.0], requires_grad=True)
    for transform in (sigmoid(), tanh(), zscore(), minmax(), clip(high=2.0)):
        out, _ = transform.apply(Channel(value, spread=torch.ones(2)), samples("aa"), transform.init(), TRAIN)
        assert out.spread is not None and not out.spread.requires_grad


def test_gradients_flow_through_values() -> None:
    value = torch.tensor([1.0, 2.0, 4.0], dtype=torch.float64, requires_grad=True)
    rows = samples("aab", length=[1.0, 2.0, 3.0])
    for transform in (affine(2.0), sigmoid(0.5), tanh(), log_sigmoid(), centre(), zscore("batch"), minmax("batch")):
        torch.autograd.gradcheck(
            lambda x, t=transform: t.apply(Channel(x), rows, t.init(), TRAIN)[0].value, (value,), atol=1e-6
        )


def test_centring_and_standardising_without_validity() -> None:
    x, ids = torch.tensor([1.0, 3.0, 7.0, 5.0]), torch.tensor([0, 0, 1, -1])
    assert centred(x, ids).tolist() == [-1.0, 1.0, 0.0, 0.0]
    value, std = standardised(x, ids, eps=0.0, correction=0)
    assert value.tolist() == [-1.0, 1.0, 0.0, 0.0] and std.tolist() == [1.0, 1.0, 0.0, 0.0]
    with pytest.raises(GuerdonError, match="cut both alike"):
        ids_like(Partition(ids), torch.zeros(3))


def test_running_statistics_with_one_value_seen() -> None:
    assert run(running_clip(), [3.0]) == [3.0]
    assert run(zscore("running"), [3.0]) == [0.0]
    assert run(running_clip(1.0, correction=0), [0.0, 4.0, 2.0, 10.0])[3] == pytest.approx(4 + math.sqrt(14.0))
