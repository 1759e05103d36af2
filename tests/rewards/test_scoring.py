"""The fast ways of scoring equal their plain twins: texts tokenised in one call, each prompt computed once."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from guerdon.batch import Message, Samples, Seed
from guerdon.errors import DataError, GuerdonError
from guerdon.rewards import Context
from guerdon.rewards.models import ModelReward, ScalarRewardModel, load_embedder, load_tokenizer, packed
from guerdon.worlds.text import Encoded, as_messages, encode, pad_rows, prepared

Make = Callable[..., Path]
PROMPTS = ["what is it", "who sat on the mat and why", "what is it", "how", "what is it", "how"]
RESPONSES = ["a cat", "the dog sat on the very good rug and it was not bad", "no", "", "a cat", "a cat and a dog"]
TRICKY = [
    "",
    " ",
    "a ",
    " cat",
    "naïve café",
    "\n\nHuman: hi\n\nAssistant:",
    "tabs\t\tand  spaces ",
    "😀😀",
    "<eos>",
    "a<eos>b",
]
# Rows that share a prompt, alone, without a response, without a prompt, of one token, and equal to each other.
ROWS = [
    Encoded((2, 10, 11), (12, 3)),
    Encoded((2, 10, 11), (13, 14, 15, 16, 3)),
    Encoded((2, 20), (21, 22, 23)),
    Encoded((2, 10, 11), ()),
    Encoded((2, 10, 11), (12, 3)),
    Encoded((), (30, 31, 32)),
    Encoded((7,), ()),
    Encoded((), (8,)),
    Encoded((2,), (9, 9)),
    Encoded((2,), (9,)),
]


@pytest.fixture(scope="module")
def byte_level() -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=["<pad>", "<eos>"], initial_alphabet=alphabet, show_progress=False
    )
    raw.train_from_iterator([*PROMPTS, *RESPONSES, *TRICKY] * 3, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=raw, pad_token="<pad>", eos_token="<eos>")


@pytest.mark.parametrize("rendering", ["auto", "raw", "dialogue"])
def test_texts_tokenised_ahead_give_the_same_ids(rendering: str, byte_level: Any) -> None:
    prompts = [p for p in (*PROMPTS, *TRICKY) for _ in (*RESPONSES, *TRICKY)]
    responses = [r for _ in (*PROMPTS, *TRICKY) for r in (*RESPONSES, *TRICKY)]
    for form in (str, as_messages):
        given = [form(p) for p in prompts]
        known = prepared(byte_level, given, responses, rendering)
        for p, r in zip(given, responses, strict=True):
            assert encode(known, p, r, rendering=rendering) == encode(byte_level, p, r, rendering=rendering), (p, r)


@pytest.mark.parametrize(("kind", "template"), [("llama", False), ("llama", True), ("bert", False)])
def test_rows_encoded_at_once_are_rows_encoded_one_by_one(kind: str, template: bool, tiny_model: Make) -> None:
    model = ScalarRewardModel.from_pretrained(tiny_model(kind, template=template), seed=Seed(1))
    chats = [[Message.of("system", "good"), Message.of("user", p)] for p in PROMPTS]
    for prompts in (PROMPTS, chats):
        one_by_one = [model.encode(p, r) for p, r in zip(prompts, RESPONSES, strict=True)]
        assert model.encode_rows(prompts, RESPONSES) == one_by_one


def test_one_call_tokenises_all_rows(byte_level: Any) -> None:
    calls = []

    class Counted:
        def __call__(self, text: Any, **options: Any) -> Any:
            calls.append(text)
            return byte_level(text, **options)

        def __getattr__(self, name: str) -> Any:
            return getattr(byte_level, name)

    known = prepared(Counted(), PROMPTS, RESPONSES, "raw")
    assert len(calls) == 1 and len(calls[0]) == len(set(calls[0]))
    rows = [encode(known, p, r, rendering="raw") for p, r in zip(PROMPTS, RESPONSES, strict=True)]
    assert len(rows) == len(PROMPTS)
    assert all(isinstance(text, str) and len(text) <= 1 for text in calls[1:])  # what stands around a text, once each
    assert len(calls) <= 3


def test_a_row_that_cannot_be_encoded_fails_alone(tiny_model: Make) -> None:
    model = ScalarRewardModel.from_pretrained(tiny_model("llama"), seed=Seed(1), max_length=4)
    with pytest.raises(DataError, match="row 1: the response has 10 tokens"):
        model.encode_rows(["what"] * 2, ["cat", "cat " * 9])
    picture = [{"role": "user", "content": "who", "picture": 3}]
    known = prepared(model.tokenizer, [as_messages(picture), "who"], ["a cat", "a cat"])
    assert encode(known, "who", "a cat") == encode(model.tokenizer, "who", "a cat")
    channel = ModelReward(model).score(Samples(None, ["what"] * 2, ["cat " * 9, "cat"]), {}, Context())[0]["reward"]
    assert channel.note is not None and "context of 4" in channel.note[0] and not channel.note[1]
    alone = ModelReward(model).score(Samples(None, ["what"], ["cat"]), {}, Context())[0]["reward"].value
    assert torch.allclose(channel.value[1], alone[0], atol=1e-5)


@pytest.mark.parametrize("kind", ["llama", "qwen2"])
@pytest.mark.parametrize("budget", [1, 7, 20, None])
def test_shared_prompts_do_not_move_a_score(kind: str, budget: int | None, tiny_model: Make) -> None:
    model = ScalarRewardModel.from_pretrained(tiny_model(kind), members=2, seed=Seed(1))
    assert model.packs()
    plain = model.score_plainly(ROWS)
    assert float(plain.std()) > 1e-2  # else nothing here could fail
    assert (model.score_encoded(ROWS, budget) - plain).abs().max() < 1e-5


@pytest.mark.parametrize("kind", ["llama", "qwen3", "gemma", "gpt2", "bert"])
def test_scores_equal_the_plain_twin_whatever_the_backbone(kind: str, tiny_model: Make) -> None:
    model = ScalarRewardModel.from_pretrained(tiny_model(kind), seed=Seed(1))
    assert model.packs() == (kind == "llama")
    rows = model.encode_rows(PROMPTS, RESPONSES)
    assert (model.score_encoded(rows, 20) - model.score_plainly(rows, 20)).abs().max() < 1e-5


def test_a_backbone_that_does_more_than_its_shape_says_is_read_plainly(tiny_model: Make) -> None:
    path = tiny_model("llama")
    hooked = ScalarRewardModel.from_pretrained(path, seed=Seed(1))
    hooked.backbone.layers[0].register_forward_hook(lambda _, __, out: out * 2)
    assert not hooked.packs()
    stretched = ScalarRewardModel.from_pretrained(path, seed=Seed(1))
    stretched.backbone.rotary_emb.rope_type = "dynamic"  # its tables depend on the longest row of a call
    assert not stretched.packs()
    rows = hooked.encode_rows(PROMPTS, RESPONSES)
    assert torch.equal(hooked.score_encoded(rows), hooked.score_plainly(rows))


def test_half_precision_shares_prompts_too(tiny_model: Make) -> None:
    model = ScalarRewardModel.from_pretrained(tiny_model("llama"), seed=Seed(1), dtype=torch.bfloat16)
    assert model.packs()
    scores, plain = model.score_encoded(ROWS), model.score_plainly(ROWS)
    assert scores.dtype == torch.float32
    assert (scores - plain).abs().max() < 0.1 < float(plain.std())
    model.backbone.layers[0].register_forward_hook(lambda _, __, out: out * 2)
    model._looked = None
    assert not model.packs()


def test_adapters_are_read(tiny_model: Make) -> None:
    model = ScalarRewardModel.from_pretrained(tiny_model("llama"), seed=Seed(1))
    before = model.score_encoded(ROWS)
    model.with_lora({"r": 2}, Seed(2))
    with torch.no_grad():
        for name, p in model.named_parameters():
            if "lora_B" in name:
                p.fill_(0.1)
    assert model.packs()
    after = model.score_encoded(ROWS)
    assert (after - model.score_plainly(ROWS)).abs().max() < 1e-5 and (after - before).abs().max() > 1e-2


def test_no_prompt_is_computed_twice_however_rows_are_cut(tiny_model: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Packs of few tokens and chunks of one pack: still one trunk a prompt, and a row of its own whole."""
    model = ScalarRewardModel.from_pretrained(tiny_model("llama"), seed=Seed(1))
    assert model.packs()
    seen: list[tuple[int, ...]] = []
    plain = packed.states

    def states(body: Any, pack: Any, read: torch.Tensor) -> torch.Tensor:
        seen.append(tuple(pack.ids.tolist()))
        return plain(body, pack, read)

    monkeypatch.setattr(packed, "states", states)
    monkeypatch.setattr(packed, "_PACKS_AT_ONCE", 1)
    model.score_encoded(ROWS[:3], 12)
    assert sorted(seen) == [(2, 10, 11, 12, 3, 13, 14, 15, 16, 3), (2, 20, 21, 22, 23)]
    assert list(packed.passes([(ROWS[0], ROWS[1]), (ROWS[2], ROWS[2]), (ROWS[0], ROWS[2])], 18)) == [[0, 1], [2]]
    assert list(packed.passes([(ROWS[0], ROWS[1])] * 2, 1)) == [[0], [1]]


def test_packed_scores_carry_the_gradient_of_the_forward_pass(tiny_model: Make) -> None:
    model = ScalarRewardModel.from_pretrained(tiny_model("qwen2"), members=2, seed=Seed(1))
    weight = torch.randn(len(ROWS), 2, generator=Seed(2).torch())
    quick, slow = model.packed_scores(ROWS, 20), model(pad_rows(ROWS, model.tokenizer))
    assert (quick - slow).abs().max() < 1e-5
    free = list(model.parameters())
    for mine, theirs in zip(*(torch.autograd.grad((weight * z).sum(), free) for z in (quick, slow)), strict=True):
        assert (mine - theirs).abs().max() < 1e-5 * max(1.0, float(theirs.abs().max()))


def test_scoring_leaves_the_mode_and_may_be_used_in_a_loss(tiny_model: Make) -> None:
    model = ScalarRewardModel.from_pretrained(tiny_model("llama"), seed=Seed(1)).train()
    weight = torch.ones(len(ROWS), 1, requires_grad=True)
    (weight * model.score_encoded(ROWS)).sum().backward()
    assert weight.grad is not None and model.training
    with pytest.raises(GuerdonError, match="Row 1 holds no token"):
        model.score_encoded([ROWS[0], Encoded((), ())])
    assert model.training
    assert model.score_encoded([]).shape == (0, 1)


def test_embeddings_tokenise_in_one_call_to_the_same_ids(tiny_model: Make) -> None:
    texts = ["the cat sat on the mat", "", "who", "the cat " * 40]
    for kind in ("bert", "gpt2"):
        embedder = load_embedder(tiny_model(kind), cache=False, max_length=8)
        tokenizer = load_tokenizer(tiny_model(kind))
        around = tokenizer("")["input_ids"]  # [CLS] and [SEP], or nothing
        for ids, text in zip(embedder._ids(texts), texts, strict=True):
            body = tokenizer(text, add_special_tokens=False)["input_ids"][len(around) - 8 :] if text else []
            assert ids == ([*around[:1], *body, *around[1:]] or [tokenizer.pad_token_id])
        assert embedder._ids([]) == []
