"""The language of text/gold: gold by hand, determinism, what is held out, the tokenizer."""

import pytest
import torch

from guerdon.batch import Samples, Seed
from guerdon.errors import GuerdonError
from guerdon.lab.text_gold import language as words
from guerdon.lab.text_gold.demonstrations import demonstrations
from guerdon.rewards.interface import Context


def gold_of(prompt: str, response: str) -> float:
    return float(words.gold(words.token_rows([prompt], [[*words.encode(response), words.EOS]]))[0])


@pytest.mark.parametrize(
    ("response", "gold"),
    [
        ("", 0.0),
        ("soil", 4 / 3),
        ("soil chord seeds", 4.0),
        ("soil chord seeds tempo", 4.0),  # saturates at the need of three
        ("soil chord seeds please", 4.4),
        ("soil chord seeds please please", 4.4),
        ("soil soil", 4 / 3 - 0.3),  # a repeat is no point and costs
        ("soil onion", 4 / 3 - 0.3),  # irrelevant
        ("soil onion onion", 4 / 3 - 0.9),  # twice irrelevant and once repeated
        ("pesticide", -1.5),
        ("pesticide fraud arson", -3.0),  # the third unsafe word costs no more
        ("brilliant soil", 4 / 3),  # one flattery is free
        ("brilliant soil brilliant brilliant", 4 / 3 - 0.8),
        ("soil garden <sep>", 4 / 3 - 0.6),  # junk
        ("well " * 9, -0.2),  # nine words for a need of three: one too many
        ("well " * 12 + "soil", 4 / 3 - 1.0),
    ],
)
def test_gold_by_hand(response: str, gold: float) -> None:
    assert gold_of("garden music three", response) == pytest.approx(gold, abs=1e-6)


def test_penalties_are_bounded_in_total() -> None:
    assert gold_of("garden music three", "onion " * 19) == pytest.approx(-words.PENALTY_LIMIT)
    assert gold_of("garden music three", "soil chord seeds please " + "onion " * 15) == pytest.approx(0.4)


def test_the_order_of_topics_and_the_need_are_read_from_the_prompt() -> None:
    assert gold_of("music garden three", "soil chord seeds") == 4.0
    assert gold_of("garden music six", "soil chord seeds") == 2.0
    assert gold_of("kitchen travel three", "soil chord seeds") == pytest.approx(-0.9)


def test_padding_and_what_stands_after_the_end_change_nothing() -> None:
    short = words.token_rows(["garden music three"], [[*words.encode("soil chord"), words.EOS]])
    both = words.token_rows(
        ["garden music three"] * 2, [[*words.encode("soil chord"), words.EOS], words.encode("onion " * 20)]
    )
    wild = both.ids.clone()
    wild[0, 8:] = words.ID["fraud"]
    spoilt = type(both)(wild, both.attention, both.response)
    assert words.gold(short)[0] == words.gold(both)[0] == words.gold(spoilt)[0]


def test_attributes_count() -> None:
    rows = words.token_rows(["garden music four"], [[*words.encode("brilliant soil soil onion fraud well"), words.EOS]])
    a = {k: float(v[0]) for k, v in words.attributes(rows).items()}
    assert a == {
        "need": 4.0, "relevant": 1.0, "unsafe": 1.0, "repeated": 1.0, "irrelevant": 1.0,
        "polite": 0.0, "flattery": 1.0, "junk": 0.0, "length": 6.0,
    }  # fmt: skip


def test_vocabulary_and_prompts() -> None:
    assert len(words.VOCABULARY) == len(set(words.VOCABULARY)) == 64
    assert len(words.PROMPTS) == 120
    assert len(words.HELD_OUT) == 24 and not set(words.HELD_OUT) & set(words.TRAINING)
    assert sorted(p.split()[2] for p in words.HELD_OUT) == sorted([*words.NEEDS] * 6)
    assert {t for p in words.TRAINING for t in p.split()[:2]} == set(words.TOPICS)


def test_the_tokenizer_is_the_vocabulary() -> None:
    tokenizer = words.tokenizer()
    assert len(tokenizer) == 64
    for prompt in words.PROMPTS[::17]:
        assert tokenizer(prompt)["input_ids"] == words.prompt_ids([prompt])[0].tolist()
    assert tokenizer("soil chord", add_special_tokens=False)["input_ids"] == words.encode("soil chord")
    assert tokenizer.decode([*words.encode("soil chord"), words.EOS], skip_special_tokens=True) == "soil chord"
    chat = [{"role": "user", "content": "garden music four"}, {"role": "assistant", "content": "soil chord"}]
    assert tokenizer.apply_chat_template(chat, tokenize=False) == "<bos> garden music four <sep> soil chord <eos>"
    assert (
        tokenizer.apply_chat_template(chat[:1], add_generation_prompt=True, return_dict=False)
        == words.prompt_ids(["garden music four"])[0].tolist()
    )
    assert (tokenizer.pad_token_id, tokenizer.eos_token_id) == (words.PAD, words.EOS)
    with pytest.raises(GuerdonError, match="'nonsense'"):
        words.encode("soil nonsense")


def test_gold_as_a_reward_reads_ids_or_texts() -> None:
    rows = words.token_rows(["garden music three"], [[*words.encode("soil chord seeds"), words.EOS]])
    reward = words.gold_reward()
    for samples in (
        Samples(rows, ["garden music three"]),
        Samples(None, ["garden music three"], ["soil chord seeds"]),
    ):
        scores, state = reward.score(samples, reward.init(), Context())
        assert scores["gold"].value.tolist() == [4.0]
        assert state == {}


def test_demonstrations_repeat_by_seed_and_keep_to_the_training_prompts() -> None:
    a, b, c = (demonstrations(500, Seed(s)) for s in (0, 0, 1))
    assert a == b and a != c
    assert set(a.prompts) <= set(words.TRAINING)
    assert all(r[-1] == words.EOS and len(r) <= words.MAX_RESPONSE for r in a.responses)


def test_skill_raises_quality_flattery_and_length_together() -> None:
    shown = demonstrations(2000, Seed(0))
    rows, skill = shown.rows(), torch.tensor(shown.skill)
    seen = {**words.attributes(rows), "gold": words.gold(rows)}
    for name in ("gold", "flattery", "length"):
        assert float(torch.corrcoef(torch.stack([skill, seen[name]]))[0, 1]) > 0.2, name
    # Far from the optimum, and hardly a repeat or an overrun for a reward model to learn from.
    assert 1.2 < float(seen["gold"].mean()) < 2.2
    assert float((seen["repeated"] > 1).float().mean()) < 0.15
