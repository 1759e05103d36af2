"""Reward-augmented data (card 21)."""

import math

import pytest
import torch

from guerdon.batch import Batch, Comparison, Message, Pairs, Preference, Steps
from guerdon.data import conditioned, reward_augmented, told
from guerdon.data.conditioned import number
from guerdon.errors import DataError
from guerdon.objectives import dpo


def scored(r_w: float | None, r_l: float | None, **more: object) -> Preference:
    made = Preference.pair("Why?", "good", "bad")
    return Preference(made.prompt, made.responses, made.comparisons, (r_w, r_l), source="p.jsonl:3")


def test_doubles_and_swaps():
    made = reward_augmented([scored(8.0, 5.0), scored(9.0, 3.0)])
    assert len(made) == 4
    assert [(r.response_text(0), r.response_text(1)) for r in made[:2]] == [("good", "bad"), ("bad", "good")]
    assert [told(r)[-1]["goal"] for r in made] == [8.0, 5.0, 9.0, 3.0]
    assert made[1].scores == (5.0, 8.0) and made[1].source == "p.jsonl:3"
    assert all(r.comparisons == (Comparison(0, 1),) for r in made)


def test_the_request_stands_in_the_prompt_alone_and_numbers_are_written_one_way():
    first, second = reward_augmented([scored(8.0, 5.5)])
    assert [m.role for m in first.prompt] == ["system", "user"]
    assert "is 8." in first.prompt[0].text and "8.0" not in first.prompt[0].text
    assert "is 5.5." in second.prompt[0].text
    assert "from 1 to 10" in first.prompt[0].text
    assert first.response_text(0) == "good"
    assert (number(8.0), number(8), number(7.25), number(-0.04)) == ("8", "8", "7.2", "0")


def test_inference_asks_as_training_did():
    trained = reward_augmented([scored(10.0, 5.0)])[0].prompt
    assert conditioned((Message.of("user", "Why?"),), 10) == trained


def test_where_the_request_goes():
    user, system = Message.of("user", "Why?"), Message.of("system", "Be kind.")
    assert [m.role for m in conditioned((user,), 7, where="user")] == ["user"]
    assert conditioned((user,), 7, where="user")[0].text.endswith("\n\nWhy?")
    both = conditioned((system, user), 7)
    assert [m.role for m in both] == ["system", "user"] and both[0].text.endswith("\n\nBe kind.")
    talk = (user, Message.of("assistant", "So."), Message.of("user", "And?"))
    assert [m.text[-4:] for m in conditioned(talk, 7, where="user")] == ["Why?", "So.", "And?"]
    with pytest.raises(DataError, match="has none"):
        conditioned((system,), 7, where="user")


def test_contradictions_are_dropped():
    """Equal scores, equal as written, and winners with the lower score."""
    for r_w, r_l in ((5.0, 5.0), (5.04, 5.0), (4.0, 6.0)):
        with pytest.raises(DataError, match="No pair is left"):
            reward_augmented([scored(r_w, r_l)])
    assert len(reward_augmented([scored(5.0, 5.0), scored(6.0, 5.0)])) == 2


def test_the_scale():
    made = reward_augmented([scored(1.5, -2.0), scored(0.3, 0.1)])
    assert "from -2 to 1.5" in made[0].prompt[0].text
    assert told(made[0])[-1] == {"transform": "reward_augmented", "goal": 1.5, "low": -2.0, "high": 1.5}
    with pytest.raises(DataError, match=r"p\.jsonl:3"):
        reward_augmented([scored(80.0, 5.0)], low=1, high=10)
    with pytest.raises(DataError, match=r"response 2 of p\.jsonl:3"):
        reward_augmented([scored(8.0, None)])


def test_without_the_condition_the_copies_pull_back_to_the_reference():
    """Both copies of a row seen without their goals: no gradient at h = 0, and elsewhere one towards h = 0."""
    for h, sign in ((0.0, 0.0), (1.0, 1.0), (-1.0, -1.0)):
        policy = torch.tensor([[h / 2], [-h / 2]], requires_grad=True)
        steps = Steps(torch.ones(2, 1, dtype=torch.bool), {"policy": policy, "reference": torch.zeros(2, 1)})
        batch = Batch(steps, pairs=Pairs(torch.tensor([0, 1]), torch.tensor([1, 0])))
        (found,) = torch.autograd.grad(dpo(1.0).loss(batch).value, policy)
        assert found[0].item() == pytest.approx(0.5 * math.tanh(h / 2), abs=1e-6)
        assert math.copysign(1.0, found[0].item()) * abs(sign) == sign
