"""Every transform, combination and anchor map survives being written into a reward graph and read back."""

import pytest
import torch

from guerdon import shaping
from guerdon.batch import Channel, Samples, Scores
from guerdon.rewards import Reward, dumps, gather, loads
from guerdon.rewards.interface import Combine, Context, State, Transform


class Lengths(Reward):
    """How many characters a response has."""

    name = "lengths"

    def __init__(self, name: str = "lengths") -> None:
        self.name = name

    def spec(self) -> tuple[str, dict[str, str]]:
        return f"{__name__}:lengths", {"name": self.name}

    def score(self, samples: Samples, state: State, context: Context) -> tuple[Scores, State]:
        return Scores({self.name: Channel.of([float(len(t)) for t in samples.texts()])}), state


def lengths(name: str) -> Lengths:
    return Lengths(name)


SAMPLES = Samples(None, list("aab"), ["x", "xxx", "xx"], columns={"length": [1.0, 3.0, 2.0]})
TRANSFORMS = [
    shaping.affine(2.0, 1.0), shaping.scale(2.0), shaping.offset(1.0), shaping.clip(0.0, 2.0),
    shaping.sigmoid(2.0, 1.0), shaping.log_sigmoid(), shaping.tanh(),
    shaping.centre("running"), shaping.zscore("batch", correction=0),
    shaping.minmax("running"), shaping.running_clip(0.5), shaping.soft_overlong(4, 2, column="length"),
    shaping.linear_length(1, 0.5, "length"), shaping.length_residual("batch", "length"),
]  # fmt: skip
COMBINATIONS = [
    shaping.weighted_sum(p=2.0, q=1.0), shaping.mean(), shaping.median(), shaping.minimum(), shaping.maximum(),
    shaping.product(), shaping.mean_minus_std(1.0), shaping.uncertainty_weighted(0.5, correction=1),
    shaping.lagrangian("p", ("q",), equality=True),
]  # fmt: skip


def same(reward: Reward, context: Context | None = None) -> None:
    context = context or Context()
    again = loads(dumps(reward))
    a, state = reward.score(SAMPLES, reward.init(), context)
    b, read = again.score(SAMPLES, again.init(), context)
    assert a.names() == b.names()
    for name in a.names():
        assert torch.equal(a[name].filled(), b[name].filled()) and torch.equal(a[name].ok, b[name].ok)
    assert sorted(state) == sorted(read)


@pytest.mark.parametrize("transform", TRANSFORMS, ids=lambda t: t.name)
def test_transforms(transform: Transform) -> None:
    same(Lengths().pipe(transform))


@pytest.mark.parametrize("combination", COMBINATIONS, ids=lambda c: c.name)
def test_combinations(combination: Combine) -> None:
    same(gather(Lengths("p"), Lengths("q").pipe(shaping.offset(1.0))).combine(combination))


@pytest.mark.parametrize("fn", [shaping.par(2.0), shaping.lsc(), shaping.contrast("max"), shaping.polynomial()])
def test_relative(fn: shaping.AnchorMap) -> None:
    same(shaping.relative(Lengths(), fn=fn) + 1.0, Context(anchors=SAMPLES))
