"""Step-DPO: pairs cut down to the first step that differs, and how their unfinished turns become rows."""

import pytest
import torch

from guerdon.batch import Batch, Comparison, Message, Pairs, Preference, Steps
from guerdon.data import first_differing_step
from guerdon.data.first_step import is_open, steps_of
from guerdon.data.provenance import told
from guerdon.objectives import dpo
from guerdon.verbs.unfinished import encode_turns, prompt_ids
from guerdon.worlds.text import encode
from tests.worlds.tiny import word_tokenizer

PAIR = Preference.pair("6 + 7 * 2?", "7 * 2 = 14\n6 + 14 = 20\nIt is 20.", "7 * 2 = 14\n6 + 14 = 21\nIt is 21.", id=3)


def texts(record: Preference) -> list[str]:
    return [record.response_text(i) for i in range(len(record.responses))]


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        ("a\nb\nc", ["a\n", "b\n", "c"]),
        ("a\n\nb\n", ["a\n\n", "b\n"]),
        ("a", ["a"]),
        ("", [""]),
        ("\na", ["\n", "a"]),
    ],
)
def test_steps_joined_are_the_text(text: str, steps: list[str]) -> None:
    assert steps_of(text) == steps and "".join(steps) == text


def test_both_sides_start_after_what_they_share() -> None:
    (made,) = first_differing_step([PAIR])
    assert [m.role for m in made.prompt] == ["user", "assistant"] and made.prompt[1].text == "7 * 2 = 14\n"
    assert texts(made) == ["6 + 14 = 20\n", "6 + 14 = 21\n"]
    assert is_open(made.prompt[1]) and not is_open(made.prompt[0]) and all(is_open(r[-1]) for r in made.responses)
    assert made.extra["id"] == 3 and told(made)[-1] == {"transform": "first_differing_step", "shared": 1, "rest": False}
    (whole,) = first_differing_step([PAIR], rest=True)
    assert texts(whole) == ["6 + 14 = 20\nIt is 20.", "6 + 14 = 21\nIt is 21."]
    assert not any(is_open(r[-1]) for r in whole.responses)


def test_responses_that_share_nothing_keep_their_prompt_and_last_steps_are_whole() -> None:
    (made,) = first_differing_step([Preference.pair("x", "one", "two\nthree")])
    assert made.prompt == (Message.of("user", "x"),) and texts(made) == ["one", "two\n"]
    assert [is_open(r[-1]) for r in made.responses] == [False, True]


def test_a_response_that_begins_the_other_differs_by_where_it_ends() -> None:
    (made,) = first_differing_step([Preference.pair("x", "a\nb", "a\nb\nc")])
    assert made.prompt[-1].text == "a\n" and texts(made) == ["b", "b\n"]
    assert [is_open(r[-1]) for r in made.responses] == [False, True]


def test_every_comparison_becomes_a_record_and_ties_none() -> None:
    said = tuple((Message.of("assistant", t),) for t in ("a\nb", "a\nc", "a\nc"))
    judged = (Comparison(0, 1), Comparison(2, 0, 0.2, weight=3.0), Comparison(0, 2, 0.5), Comparison(1, 2))
    made = first_differing_step([Preference((Message.of("user", "x"),), said, judged)])
    assert [texts(r) for r in made] == [["b", "c"], ["b", "c"]]
    assert [r.pairs() for r in made] == [((0, 1, 1.0, 1.0),), ((0, 1, 0.8, 3.0),)]


def test_a_dialogue_of_several_messages_stands_as_it_is() -> None:
    long = (Message.of("assistant", "a"), Message.of("user", "b"), Message.of("assistant", "c"))
    record = Preference((Message.of("user", "x"),), (long, (Message.of("assistant", "d"),)), (Comparison(0, 1),))
    (made,) = first_differing_step([record])
    assert made.responses == record.responses and made.prompt == record.prompt


@pytest.mark.parametrize("template", [True, False])
def test_rows_hold_the_same_tokens_and_the_shared_ones_are_the_prompt_s(template: bool) -> None:
    tokenizer = word_tokenizer(pad=True, template=template)
    before = Preference.pair("w5 w6", "w7 w8\nw9 w10\nw11", "w7 w8\nw12\nw13 w14")
    (made,) = first_differing_step([before], rest=True)
    for i in (0, 1):
        plain = encode(tokenizer, before.prompt, before.responses[i])
        row = encode_turns(tokenizer, made.prompt, made.responses[i])
        assert (*row.prompt, *row.response) == (*plain.prompt, *plain.response)
        assert row.prompt == (*plain.prompt, 7, 8) == prompt_ids(tokenizer, made.prompt)
    (cut,) = first_differing_step([before])
    assert encode_turns(tokenizer, cut.prompt, cut.responses[0]).response == (9, 10)  # no end was written there
    assert encode_turns(tokenizer, cut.prompt, cut.responses[1]).response == (12,)
    assert prompt_ids(tokenizer, before.prompt) == encode(tokenizer, before.prompt, "w9").prompt
    assert encode_turns(tokenizer, before.prompt, before.responses[0]) == encode(
        tokenizer, before.prompt, before.responses[0]
    )


def test_what_is_shared_cancels_in_dpo() -> None:
    """Value and gradient of DPO are the same whether shared tokens count as prompt or as the start of both responses:
    the transform changes DPO by what it cuts behind the step alone."""
    g = torch.Generator().manual_seed(0)
    shared = -torch.rand(1, 2, generator=g, dtype=torch.float64).expand(2, 2)
    tables = [
        torch.cat([scale * shared, -torch.rand(2, 3, generator=g, dtype=torch.float64)], 1) for scale in (1.0, 0.5)
    ]
    found = []
    for first in (0, 2):
        policy = tables[0].clone().requires_grad_()
        mask = (torch.arange(5) >= first).expand(2, 5)
        batch = Batch(
            Steps(mask, {"policy": policy, "reference": tables[1]}), pairs=Pairs(torch.tensor([0]), torch.tensor([1]))
        )
        loss = dpo(0.5).loss(batch).value
        (slope,) = torch.autograd.grad(loss, policy)
        # The shared tokens' log-probs are one number in both rows, so their gradients add up to nothing.
        found.append((loss.item(), slope[:, 2:], slope[:, :2].sum(0)))
    assert found[0][0] == pytest.approx(found[1][0], abs=1e-12)
    torch.testing.assert_close(found[0][1], found[1][1], atol=1e-12, rtol=0)
    torch.testing.assert_close(found[0][2], torch.zeros(2, dtype=torch.float64), atol=1e-15, rtol=0)
