"""Small rewards of text at module level, so that they pickle and reach worker processes."""

import time

import torch

from guerdon.batch import Channel, Scores, Status
from guerdon.rewards import Reward, reward


@reward
def length(responses):
    """Words."""
    return [float(len(r.split())) for r in responses]


@reward
def even(responses, answer):
    """1 where the number of words has the column's parity; not applicable without one."""
    return [None if a is None else float(len(r.split()) % 2 == a) for r, a in zip(responses, answer, strict=True)]


@reward
def slow(responses):
    """Hangs on a response that says so."""
    for r in responses:
        time.sleep(30.0 if "hang" in r else 0.0)
    return [1.0 for _ in responses]


class Flaky(Reward):
    """FAILED on every third row, 1 elsewhere."""

    name = "flaky"

    def score(self, samples, state, context):
        """1 or FAILED."""
        lost = torch.arange(len(samples)) % 3 == 2
        value = torch.where(lost, float("nan"), 1.0)
        status = torch.where(lost, int(Status.FAILED), int(Status.OK)).to(torch.int8)
        return Scores({"flaky": Channel(value, status)}), state


flaky = Flaky()
