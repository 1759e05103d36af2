"""Self-revision: what is asked again, how often, and what comes of it where every law is known."""

import pytest
import torch

from guerdon.batch import Message, Seed
from guerdon.decoding import REWRITE, asked_again, revisions
from guerdon.errors import GuerdonError
from guerdon.worlds import Sampling, Snapshots
from guerdon.worlds.finite import FiniteWorld, TabularPolicy


def chain() -> Snapshots:
    """Prompt 0 answers 0; prompt 1 + y improves answer y by one, up to 2."""
    logits = torch.full((4, 3), -50.0)
    logits[0, 0] = logits[1, 1] = logits[2, 2] = logits[3, 2] = 50.0
    return Snapshots(TabularPolicy(logits))


def test_every_revision_improves_the_answer_before_it():
    drawn = revisions(FiniteWorld(), chain(), [0, 0], 3, again=lambda start, answer: 1 + answer)
    assert [list(s.responses) for s in drawn] == [[0, 0], [1, 1], [2, 2], [2, 2]]
    assert [list(s.prompts) for s in drawn] == [[0, 0], [1, 1], [2, 2], [3, 3]]


def test_no_revision_is_a_plain_sample_and_draws_differ_between_revisions():
    snapshots = Snapshots(TabularPolicy(torch.zeros(1, 50)))
    world, key = FiniteWorld(), Seed(3)
    (alone,) = revisions(world, snapshots, [0] * 8, 0, Sampling(), key)
    two = revisions(world, snapshots, [0] * 8, 1, Sampling(), key, again=lambda start, answer: start)
    assert list(two[0].responses) == list(alone.responses)
    assert list(two[1].responses) != list(alone.responses)
    with pytest.raises(GuerdonError, match="at least 0"):
        revisions(world, snapshots, [0], -1)


def test_what_is_asked():
    turns = asked_again("Why?", "Because.")
    assert turns == (Message.of("user", "Why?"), Message.of("assistant", "Because."), Message.of("user", REWRITE))
    assert asked_again(turns[:1], "So.", "Again!")[1:] == (
        Message.of("assistant", "So."),
        Message.of("user", "Again!"),
    )
