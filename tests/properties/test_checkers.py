"""The checkers for users' own rewards, objectives, transforms and estimators: sound ones pass, planted bugs do not."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
import torch

from guerdon import advantages, objectives, shaping
from guerdon.batch import Batch, Channel, Partition, Samples, Scores, Status
from guerdon.checks import CheckFailed, check_estimator, check_objective, check_reward, check_transform
from guerdon.objectives import Objective, Term
from guerdon.rewards import Context, Reward, dispatch, minimum, reward
from tests.properties.cases_objectives import BATCH
from tests.properties.examples import EVERY, OK, ROWS, real

SAMPLES = Samples(
    None,
    [f"question {i}" for i in EVERY.tolist()],
    ["ab" * (i % 4 + 1) for i in range(ROWS)],
    columns={"task": ["long" if i % 2 else "short" for i in range(ROWS)], "answer": [str(i) for i in range(ROWS)]},
    partitions={"prompt": Partition(EVERY)},
)


@reward
def length(responses):
    return [float(len(r)) for r in responses]


@reward
def digits(answer):
    return [None if a == "3" else float(a) for a in answer]


COMPOSED = {
    "leaf": (length, None),
    "sum": (0.7 * length + 0.3 * digits, None),
    "centred": (0.5 * length + digits.pipe(shaping.centre()), "prompt"),
    "running": (length.pipe(shaping.zscore("running")), "batch"),
    "gate": (length.gate(digits, 4.0), None),
    "minimum": (minimum(length, digits), None),
    "dispatch": (dispatch("task", {"long": length, "short": digits}), None),
    "relative": (shaping.relative(length, SAMPLES.take(torch.arange(4))), None),
}


@pytest.mark.parametrize("name", COMPOSED)
def test_sound_rewards_pass(name):
    found = check_reward(*COMPOSED[name][:1], SAMPLES, per_group=COMPOSED[name][1])
    assert found["deterministic"] == found["nothing_mutated"] == "passed"
    assert set(found) == {
        "shapes_and_statuses",
        "deterministic",
        "permutation_equivariance",
        "batch_size",
        "nothing_mutated",
        "frozen_state",
        "invalid_not_zero",
        "serialisation",
    }


def test_what_a_composed_reward_is_held_to():
    found = check_reward(COMPOSED["running"][0], SAMPLES, per_group="batch")
    assert found["frozen_state"] == found["invalid_not_zero"] == found["serialisation"] == "passed"
    assert found["batch_size"].startswith("not applicable")


@dataclass(frozen=True, eq=False)
class Broken(Reward):
    """A reward with one planted bug."""

    bug: str
    name: str = "broken"
    channels: tuple[str, ...] = ("broken",)

    def init(self):
        return {"seen": torch.zeros(())}

    def score(self, samples, state, context):
        value = torch.tensor([float(len(r)) for r in samples.responses])
        if self.bug == "batch_size":
            value = value - value.mean()
        if self.bug == "permutation_equivariance":
            value = value + torch.arange(len(value))
        if self.bug == "deterministic":
            value = value + torch.rand(())
        if self.bug == "nothing_mutated":
            samples.columns["answer"][0] = "changed"
        if self.bug == "state":
            state["seen"].add_(1)
        if self.bug == "frozen_state":
            state = {"seen": state["seen"] + 1}
        status = torch.zeros(len(value), dtype=torch.int8)
        if self.bug == "shapes_and_statuses":
            status[0] = int(Status.FAILED)  # with a number under it
        names = ("other",) if self.bug == "names" else self.channels
        return Scores({n: Channel(value, status) for n in names}), state


BROKEN = {
    **{b: b for b in ("batch_size", "permutation_equivariance", "deterministic", "nothing_mutated", "frozen_state")},
    "shapes_and_statuses": "shapes_and_statuses",
    "state": "nothing_mutated",
    "names": "shapes_and_statuses",
}


@pytest.mark.parametrize("bug", BROKEN)
def test_a_bug_in_a_reward_is_found(bug):
    samples = SAMPLES.with_columns(answer=list(SAMPLES.columns["answer"]))
    with pytest.raises(CheckFailed, match=f"(?m)^{BROKEN[bug]}: broken: "):
        check_reward(Broken(bug), samples)


def test_an_invalid_value_read_as_a_number_is_found():
    composed = 0.5 * length + digits.pipe(BadTransform("statuses_kept"))
    with pytest.raises(CheckFailed, match=r"(?m)^invalid_not_zero: .*'digits' failed on row"):
        check_reward(composed, SAMPLES)


def test_sound_and_unsound_objectives():
    found = check_objective(objectives.dpo(0.1) + 0.3 * objectives.sft("winner"), BATCH)
    assert found["needs_complete"] == found["split_invariance"] == found["finite_difference_gradient"] == "passed"

    def term(unit, weight=lambda b: torch.ones(len(b)), needs=("steps.logp.policy",)) -> Objective:
        return Objective((Term("planted", needs, unit, weight),))

    bugs = {
        # Padding inside the average.
        "pad_invariance": term(lambda b, s: b.steps.logprob("policy").mean(-1)),
        # The mean over the micro-batch inside the term.
        "split_invariance": term(lambda b, s: b.steps.logprob("policy").sum(-1).mean() ** 2 + torch.zeros(len(b))),
        "mask_invariance": term(lambda b, s: (b.steps.logp["policy"] * b.steps.mask).sum(-1)),
        "extreme_inputs_finite": term(lambda b, s: (-b.steps.logprob("policy")).exp().sum(-1)),
    }
    for name, objective in bugs.items():
        with pytest.raises(CheckFailed, match=f"(?m)^{name}: planted"):
            check_objective(objective, BATCH)
    hidden = term(lambda b, s: (b.steps.logprob("policy") - b.steps.logprob("reference")).sum(-1))
    with pytest.raises(CheckFailed, match="reads more than its needs"):
        check_objective(hidden, BATCH)


def test_needs_that_change_the_value_are_found():
    def unit(batch: Batch, stats):
        weight = batch.columns.get("weight", torch.ones(len(batch)))
        return batch.steps.logprob("policy").sum(-1) * weight

    objective = Objective((Term("quiet", ("steps.logp.policy",), unit, lambda b: torch.ones(len(b))),))
    with pytest.raises(CheckFailed, match="without it the loss is"):
        check_objective(objective, replace(BATCH, columns={"weight": real(ROWS)}))


@pytest.mark.parametrize("build", [shaping.zscore, shaping.minmax, lambda: shaping.clip(-1, 1)])
def test_sound_transforms_pass(build):
    channel = Channel(torch.where(OK, real(ROWS), torch.nan), torch.where(OK, 0, 2).to(torch.int8))
    found = check_transform(build(), channel, SAMPLES)
    assert found["statuses_kept"] == found["mask_invariance"] == found["invalid_not_zero"] == "passed"


@dataclass(frozen=True)
class BadTransform:
    """A transform with one planted bug."""

    bug: str
    name: str = "bad"
    partition: str = "prompt"

    def init(self):
        return {"count": torch.zeros(())}

    def apply(self, channel, samples, state, context: Context):
        value = channel.filled()
        if self.bug == "group_isolation":
            value = value - value.mean()
        if self.bug == "frozen_state":
            state = {"count": state["count"] + 1}
        if self.bug == "nothing_mutated":
            state["count"].add_(1)
        if self.bug == "statuses_kept":
            return Channel(value), state
        return channel.with_value(value), state


@pytest.mark.parametrize("bug", ["group_isolation", "frozen_state", "nothing_mutated", "statuses_kept"])
def test_a_bug_in_a_transform_is_found(bug):
    channel = Channel(torch.where(OK, real(ROWS), torch.nan), torch.where(OK, 0, 2).to(torch.int8))
    with pytest.raises(CheckFailed, match=f"(?m)^{bug}: "):
        check_transform(BadTransform(bug), channel, SAMPLES)


def test_estimators():
    rewards, partition = real(ROWS), Partition(EVERY)
    found = check_estimator(advantages.rloo, rewards, partition, OK, degree=1.0)
    assert found["group_isolation"] == found["invalid_not_zero"] == found["scale_behaviour"] == "passed"
    # Uneven groups normalised over the whole batch: a group of three 5.0s got -1.09 (slime#1414).
    with pytest.raises(CheckFailed, match="group_isolation"):
        check_estimator(lambda r, p, ok: (r - r.mean()) / (r.std(correction=0) + 1e-6), rewards, partition)
    # An invalid row inside the baseline (verl#6452).
    with pytest.raises(CheckFailed, match="invalid_not_zero"):
        check_estimator(lambda r, p, ok: advantages.rloo(r, p).advantage * ok, rewards, partition, OK)
