"""Pairs as the six rows that SRPO reads: who answers whom, with which label and weight."""

from __future__ import annotations

import pytest
import torch

from guerdon.batch import Comparison, Message, Preference, Seed
from guerdon.decoding import REWRITE
from guerdon.objectives.srpo import ROLES
from guerdon.verbs.material import items, source_of
from tests.worlds.tiny import word_tokenizer

ANSWERS = tuple((Message.of("assistant", text),) for text in ("w5", "w6"))


def record(*comparisons: Comparison) -> Preference:
    return Preference((Message.of("user", "w4"),), ANSWERS, comparisons)


def drawn(*records: Preference):
    return source_of("rewritten", records, word_tokenizer(pad=True), 64, 1, Seed(0), ordered=True)


def test_a_role_is_an_answer_after_an_answer():
    source = drawn(record(Comparison(0, 1)))
    rows, tokenizer = source.samples.payload, word_tokenizer(pad=True)
    assert source.lists.rows.tolist() == [list(range(6))] and source.lists.value is None
    for i, role in enumerate(ROLES):
        said = tokenizer.decode(rows.ids[i][rows.response[i]])
        asked = tokenizer.decode(rows.ids[i][rows.attention[i] & ~rows.response[i]])
        answer, _, before = role.partition("|")
        assert ("w5" if answer == "w" else "w6") in said
        assert [w in asked for w in ("w5", "w6")] == [before == "w", before == "l"]
    assert len(REWRITE) > 0


def test_labels_and_weights_come_along():
    source = drawn(record(Comparison(0, 1, p=0.8, weight=3.0), Comparison(0, 1)), record(Comparison(0, 1, p=0.5)))
    assert len(source) == 2 == len(items("rewritten", [record(Comparison(0, 1, p=0.8)), record(Comparison(0, 1))]))
    torch.testing.assert_close(source.lists.value[0], torch.tensor([0.8, 0.2] * 3))
    assert source.lists.value[1].tolist() == [1.0, 0.0] * 3
    assert source.lists.weights().tolist() == [3.0, 1.0]


def test_a_pair_preferred_the_other_way_is_turned():
    source = drawn(record(Comparison(0, 1, p=0.2)))
    said = word_tokenizer(pad=True).decode(source.samples.payload.ids[0][source.samples.payload.response[0]])
    assert "w6" in said
    assert source.lists.values()[0, 0].item() == pytest.approx(0.8)
