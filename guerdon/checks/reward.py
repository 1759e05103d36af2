"""``check_reward``: a reward, plain or composed, behaves as every user of rewards expects."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import torch

from guerdon.batch import Channel, Samples, Scores, Status
from guerdon.checks.case import CheckFailed, NotApplicable
from guerdon.checks.run import hold
from guerdon.checks.transform import equal
from guerdon.errors import GuerdonError
from guerdon.rewards import Context, Node, Reward, State, as_node, dumps, loads
from guerdon.rewards.graph import Leaf

# A name no data set uses.
ROW = "__row_of_check__"


@dataclass(frozen=True)
class Trial:
    """One reward with what it is tried on. per_group: the partition its values depend on, None for row by row."""

    reward: Reward
    samples: Samples
    context: Context
    per_group: str | None

    def score(self, samples: Samples | None = None, reward: Reward | None = None) -> Scores:
        """Scores from the initial state."""
        asked = reward or self.reward
        return asked.score(self.samples if samples is None else samples, asked.init(), self.context)[0]

    def cuts(self) -> list[torch.Tensor]:
        """Rows cut in two, along whole groups where the reward depends on groups."""
        n = len(self.samples)
        if self.per_group is None:
            return list(torch.arange(n).tensor_split(2))
        ids = self.samples.partition(self.per_group).ids
        return [(ids % 2 == side).nonzero().squeeze(-1) for side in (0, 1)]


def check_reward(
    reward: Reward,
    samples: Samples,
    context: Context | None = None,
    *,
    per_group: str | None = None,
    tolerance: float = 1e-5,
    skip: Mapping[str, str] = MappingProxyType({}),
) -> dict[str, str]:
    """Hold a reward to what its users rely on: property -> outcome; raises CheckFailed naming what does not hold.

    samples: at least four rows, two prompts. per_group: the partition whose members the reward compares ('prompt',
    'batch'), None where every row is scored by itself. tolerance: how far scores may differ between batch sizes and
    orders (a model in float32 needs about 1e-4). skip: property -> why it need not hold.

    Checked: one valid value or status a row under the declared names, values outside OK are NaN; equal calls give equal
    scores; rows move with their scores; batch sizes change nothing; neither samples nor state are changed; the state
    stays the same while ``context.training`` is False; a failure in any part fails every row that uses it and no other;
    a composed reward survives being written and read.
    """
    trial = Trial(reward, samples, context or Context(), per_group)
    if len(samples) < 4:
        raise CheckFailed(f"{reward.name}: a check needs at least four rows, but {len(samples)} came.")
    rules: dict[str, Callable[[], None]] = {
        "nothing_mutated": lambda: nothing_mutated(trial),  # first, while the samples are as they were given
        "shapes_and_statuses": lambda: shapes_and_statuses(trial),
        "deterministic": lambda: same_scores(trial.score(), trial.score(), 0.0, "two equal calls"),
        "permutation_equivariance": lambda: permuted(trial, tolerance),
        "batch_size": lambda: batch_size(trial, tolerance),
        "frozen_state": lambda: frozen_state(trial),
        "invalid_not_zero": lambda: invalid_not_zero(trial),
        "serialisation": lambda: serialisation(trial),
    }
    return hold(rules, skip, reward.name)


def shapes_and_statuses(trial: Trial) -> None:
    """One value a row, declared names, NaN under every status but OK."""
    scores = trial.score()
    declared = tuple(trial.reward.channels)
    if declared and set(scores.names()) != set(declared):
        raise CheckFailed(f"it declares the channels {sorted(declared)}, but gave {sorted(scores.names())}.")
    for name, channel in scores.channels.items():
        if len(channel.value) != len(trial.samples):
            raise CheckFailed(f"channel {name!r} has {len(channel.value)} rows for {len(trial.samples)} samples.")
        known = {int(s) for s in Status}
        if not set(channel.statuses().unique().tolist()) <= known:
            raise CheckFailed(f"channel {name!r} holds a status that is none of {sorted(known)}.")
        if bool(torch.isfinite(channel.value.detach()[~channel.ok]).any()):
            raise CheckFailed(f"channel {name!r} holds a number where its status is not OK; write NaN there.")


def same_scores(a: Scores, b: Scores, tolerance: float, what: str) -> None:
    """Raise CheckFailed where two scores differ."""
    if set(a.names()) != set(b.names()):
        raise CheckFailed(f"{what} gave the channels {sorted(a.names())} and {sorted(b.names())}.")
    for name in a.names():
        left, right = a[name], b[name]
        if left.value.shape != right.value.shape or not torch.equal(left.statuses(), right.statuses()):
            raise CheckFailed(f"{what} gave other shapes or statuses in channel {name!r}.")
        far = (left.filled().detach() - right.filled().detach()).abs()
        if far.numel() and bool((far > tolerance).any()):
            raise CheckFailed(f"{what} gave values {float(far.max()):.3g} apart in channel {name!r}.")


def permuted(trial: Trial, tolerance: float) -> None:
    """Rows in another order have the same scores."""
    order = torch.arange(len(trial.samples)).flip(0).roll(2)
    same_scores(trial.score(trial.samples.take(order)), trial.score().take(order), tolerance, "another order of rows")


def batch_size(trial: Trial, tolerance: float) -> None:
    """A part of the rows has the scores it has among all."""
    if trial.per_group == "batch":
        raise NotApplicable("it compares all rows of a batch")
    whole = trial.score()
    for at in trial.cuts():
        same_scores(trial.score(trial.samples.take(at)), whole.take(at), tolerance, "another batch size")


def nothing_mutated(trial: Trial) -> None:
    """Samples and state are as they were."""
    samples, state = copy.deepcopy(trial.samples), trial.reward.init()
    for _ in range(2):  # some states are empty before the first call
        before = copy.deepcopy(dict(state))
        _, after = trial.reward.score(samples, state, trial.context)
        if not equal(before, dict(state)):
            raise CheckFailed("scoring changed the state it was given; return a new one.")
        state = after
    for field in ("prompts", "responses", "columns"):
        if repr(getattr(samples, field)) != repr(getattr(trial.samples, field)):
            raise CheckFailed(f"scoring changed samples.{field}; work on a copy.")


def frozen_state(trial: Trial) -> None:
    """Nothing is learned while training is False."""
    _, state = trial.reward.score(trial.samples, trial.reward.init(), trial.context)
    if not state:
        raise NotApplicable("it has no state")
    _, after = trial.reward.score(trial.samples, state, replace(trial.context, training=False))
    if not equal(dict(state), dict(after)):
        raise CheckFailed("the state changed although context.training is False.")


@dataclass(frozen=True, eq=False)
class Failing(Reward):
    """A reward that fails on one row, told by the column ROW, also where it is asked about some rows only."""

    reward: Reward
    row: int

    @property
    def name(self) -> str:  # type: ignore[override]
        """The reward's name."""
        return self.reward.name

    @property
    def needs(self) -> tuple[str, ...]:  # type: ignore[override]
        """The reward's needs."""
        return tuple(self.reward.needs)

    @property
    def channels(self) -> tuple[str, ...]:  # type: ignore[override]
        """The reward's channels."""
        return tuple(self.reward.channels)

    def init(self) -> State:
        """The reward's state."""
        return self.reward.init()

    def score(self, samples: Samples, state: State, context: Context) -> tuple[Scores, State]:
        """The reward's scores, FAILED on the row."""
        scores, after = self.reward.score(samples, state, context)
        rows = torch.tensor([x == self.row for x in samples.columns.get(ROW, [])], dtype=torch.bool)
        if not bool(rows.any()):
            return scores, after
        return Scores({name: failed(c, rows) for name, c in scores.channels.items()}), after


def failed(channel: Channel, rows: torch.Tensor) -> Channel:
    """The channel with these rows FAILED."""
    status, value = channel.statuses().clone(), channel.value.detach().clone()
    status[rows], value[rows] = int(Status.FAILED), float("nan")
    return Channel(value, status, channel.spread, channel.note)


def invalid_not_zero(trial: Trial) -> None:
    """A part that fails on a row fails the row, or is not used there at all; other rows feel it only by their group."""
    if not isinstance(trial.reward, Node) or isinstance(trial.reward, Leaf):
        raise NotApplicable("it is no composition of rewards")
    whole = trial.score()
    numbered = trial.samples.with_columns(**{ROW: list(range(len(trial.samples)))})
    for leaf in leaves(trial.reward):
        for row in (0, len(trial.samples) - 1):
            there = trial.score(numbered, replaced(trial.reward, leaf, Failing(leaf, row)))
            for name in whole.names():
                hurt = bool((there[name].statuses()[row] == int(Status.FAILED)).all())
                unused = equal(there[name].take(torch.tensor([row])), whole[name].take(torch.tensor([row])))
                if not (hurt or unused):
                    raise CheckFailed(
                        f"{leaf.name!r} failed on row {row}, but channel {name!r} gives it "
                        f"{there[name].value[row].tolist()}: an invalid value was used as a number."
                    )


def leaves(node: Node) -> list[Reward]:
    """The rewards at the leaves, each once."""
    if isinstance(node, Leaf):
        return [node.reward]
    found = {id(r): r for part in node.parts for r in leaves(part)}
    return list(found.values())


def replaced(x: Any, leaf: Reward, by: Reward) -> Any:
    """The graph with another reward at one leaf."""
    if isinstance(x, Leaf):
        return Leaf(by) if x.reward is leaf else x
    if isinstance(x, Node) and dataclasses.is_dataclass(x):
        fields = {f.name: replaced(getattr(x, f.name), leaf, by) for f in dataclasses.fields(x) if f.init}
        return replace(x, **fields)
    if isinstance(x, tuple):
        return tuple(replaced(v, leaf, by) for v in x)
    if isinstance(x, Mapping):
        return {k: replaced(v, leaf, by) for k, v in x.items()}
    return x


def serialisation(trial: Trial) -> None:
    """Written and read, a composed reward scores the same."""
    try:
        text = dumps(as_node(trial.reward))
    except GuerdonError as why:
        raise NotApplicable(str(why)) from why
    same_scores(trial.score(reward=loads(text)), trial.score(), 0.0, "the reward as written and read")
