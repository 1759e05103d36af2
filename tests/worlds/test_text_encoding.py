"""Prompts and responses as tokens: the prompt is a prefix, the end token stands once, padding is told by the mask."""

import pytest
import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from guerdon.batch import Message, Part
from guerdon.errors import DataError, GuerdonError
from guerdon.worlds.text import Encoded, encode, encode_prompt, pad_rows, render_prompt, render_response

ASK = (Message.of("user", "Two and two?"),)
SAY = (Message.of("assistant", "It is four."),)
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
GEMMA = (
    "<s>{% for m in messages %}<turn>{{ 'model' if m.role == 'assistant' else m.role }}\n{{ m.content }}<end_of_turn>\n"
    "{% endfor %}{% if add_generation_prompt %}<turn>model\n{% endif %}"
)
BARE = (
    "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}"
    "{% if add_generation_prompt %}[assistant]{% endif %}"
)


def byte_tokenizer(**special: str) -> PreTrainedTokenizerFast:
    """A byte-level tokenizer (GPT-2's kind) with one merge that straddles words: ':' and a space."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {letter: i for i, letter in enumerate([*letters, ":Ġ"])}
    core = Tokenizer(models.BPE(vocab=vocabulary, merges=[(":", "Ġ")]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    core.decoder = decoders.ByteLevel()
    made = PreTrainedTokenizerFast(tokenizer_object=core, **special)
    return made


def piece_tokenizer() -> PreTrainedTokenizerFast:
    """A sentence-piece-like tokenizer (Llama 2's kind): a space before every text, BOS added to plain text."""
    letters = ["<s>", "</s>", "<unk>", *sorted(set("▁\n:.?") | set(map(chr, range(65, 123))))]
    core = Tokenizer(models.BPE(vocab={x: i for i, x in enumerate(letters)}, merges=[], unk_token="<unk>"))
    core.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    core.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    return PreTrainedTokenizerFast(tokenizer_object=core, bos_token="<s>", eos_token="</s>", unk_token="<unk>")


def chat_tokenizer(template: str, *special: str, **named: str) -> PreTrainedTokenizerFast:
    tokenizer = byte_tokenizer(**named)
    tokenizer.add_tokens([AddedToken(token, special=True) for token in special], special_tokens=True)
    tokenizer.chat_template = template
    return tokenizer


def test_without_a_template_turns_are_written_as_a_dialogue() -> None:
    tokenizer = byte_tokenizer(eos_token="<e>")
    assert render_prompt(tokenizer, ASK) == "\n\nHuman: Two and two?\n\nAssistant:"
    assert render_response(tokenizer, ASK, SAY) == " It is four."
    assert (
        render_prompt(tokenizer, ASK, "raw") + render_response(tokenizer, ASK, SAY, "raw") == "Two and two?It is four."
    )


@pytest.mark.parametrize("rendering", ["dialogue", "raw"])
def test_the_prompts_tokens_are_a_prefix_even_where_a_merge_crosses_the_border(rendering: str) -> None:
    tokenizer = byte_tokenizer(eos_token="<e>")
    ask, say = (Message.of("user", "Sum:"),), (Message.of("assistant", " four"),)
    row = encode(tokenizer, ask, say, rendering=rendering)
    assert row.prompt == encode_prompt(tokenizer, ask, rendering)
    text = render_prompt(tokenizer, ask, rendering) + render_response(tokenizer, ask, say, rendering)
    assert tokenizer.decode([*row.prompt, *row.response[:-1]]) == text
    assert tokenizer.convert_tokens_to_ids(":Ġ") not in row.response


def test_no_space_is_put_before_a_sentence_piece_response() -> None:
    tokenizer = piece_tokenizer()
    row = encode(tokenizer, ASK, SAY, rendering="raw")
    assert tokenizer.convert_ids_to_tokens(row.response) == [*"It▁is▁four.", "</s>"]
    assert tokenizer.convert_ids_to_tokens(row.prompt)[:3] == ["<s>", "▁", "T"]
    assert row.prompt.count(0) == 1


@pytest.mark.parametrize("said", ["It is four.", "It is four.<e>"])
def test_the_end_token_stands_once(said: str) -> None:
    tokenizer = byte_tokenizer(eos_token="<e>")
    row = encode(tokenizer, ASK, (Message.of("assistant", said),))
    assert row.response.count(tokenizer.eos_token_id) == 1
    assert row.response[-1] == tokenizer.eos_token_id


def test_a_template_that_ends_turns_with_the_end_token_gets_no_second_one() -> None:
    """TRL a70b4e014 appended an end token to conversations that had one; ChatML's newline after it is nobody's
    choice."""
    tokenizer = chat_tokenizer(CHATML, "<|im_start|>", eos_token="<|im_end|>")
    row = encode(tokenizer, ASK, SAY)
    assert tokenizer.decode(row.prompt) == "<|im_start|>user\nTwo and two?<|im_end|>\n<|im_start|>assistant\n"
    assert tokenizer.decode(row.response) == "It is four.<|im_end|>"


def test_a_template_with_its_own_end_of_turn_keeps_it_and_its_one_begin_token() -> None:
    tokenizer = chat_tokenizer(GEMMA, "<turn>", "<end_of_turn>", bos_token="<s>", eos_token="<e>")
    row = encode(tokenizer, ASK, SAY)
    assert tokenizer.decode(row.response) == "It is four.<end_of_turn>"
    assert tokenizer.decode(row.prompt).count("<s>") == 1


def test_a_template_without_end_of_turn_gets_the_end_token() -> None:
    tokenizer = chat_tokenizer(BARE, bos_token="<e>", eos_token="<e>")
    assert tokenizer.decode(encode(tokenizer, ASK, SAY).response) == "It is four.<e>"


def test_a_template_that_rewrites_the_prompt_falls_back_to_the_plain_response() -> None:
    tokenizer = chat_tokenizer(BARE + "{% if add_generation_prompt %}<think>{% endif %}", eos_token="<e>")
    row = encode(tokenizer, ASK, SAY)
    assert tokenizer.decode(row.prompt).endswith("[assistant]<think>")
    assert tokenizer.decode(row.response) == "It is four.<e>"


def test_a_template_that_refuses_says_why_in_one_sentence() -> None:
    tokenizer = chat_tokenizer("{{ raise_exception('roles must alternate') }}", eos_token="<e>")
    with pytest.raises(DataError, match="refuses turns of roles user: roles must alternate"):
        encode_prompt(tokenizer, ASK)


def test_a_long_row_loses_the_start_of_its_prompt_and_keeps_its_begin_token() -> None:
    tokenizer = piece_tokenizer()
    full = encode(tokenizer, ASK, SAY, rendering="raw")
    row = encode(tokenizer, ASK, SAY, rendering="raw", max_length=len(full) - 4)
    assert row.response == full.response
    assert row.prompt == (full.prompt[0], *full.prompt[5:])
    assert (row.dropped, row.cut, len(row)) == (4, 0, len(full) - 4)
    assert encode(tokenizer, ASK, SAY, rendering="raw", max_length=len(full)) == full


def test_a_response_longer_than_the_context_is_an_error_or_a_counted_cut() -> None:
    tokenizer = byte_tokenizer(eos_token="<e>")
    with pytest.raises(DataError, match=r"p\.jsonl:3: the response has 13 tokens, but the context of 5 has room for 4"):
        encode(tokenizer, ASK, SAY, max_length=5, source="p.jsonl:3")
    row = encode(tokenizer, ASK, SAY, max_length=5, on_long="cut")
    assert (len(row.prompt), tokenizer.decode(row.response), row.cut) == (1, " It ", 9)


def test_an_empty_prompt_still_gives_a_position_to_start_from() -> None:
    assert encode_prompt(byte_tokenizer(eos_token="<e>"), (), "raw") == (257,)
    assert encode_prompt(byte_tokenizer(bos_token="<s>", eos_token="<e>"), (), "raw") == (257,)
    with pytest.raises(DataError, match="no begin or end token"):
        encode_prompt(byte_tokenizer(), (), "raw")


@pytest.mark.parametrize("pad", [None, "<e>"])
def test_padding_is_told_by_the_mask_whatever_the_pad_token(pad: str | None) -> None:
    """TRL 707a7172e and #5144: where pad equals the end token, masks inferred from ids lose the end token."""
    tokenizer = byte_tokenizer(eos_token="<e>", **({"pad_token": pad} if pad else {}))
    end = tokenizer.eos_token_id
    rows = pad_rows([Encoded((end,), (0, 5, end)), Encoded((1, 2), (3, end)), Encoded((1,), (end,))], tokenizer)
    assert rows.ids.shape == (3, 4)
    assert rows.attention.sum(1).tolist() == [4, 4, 2]
    assert rows.response.sum(1).tolist() == [3, 2, 1]
    assert rows.ids[rows.response].tolist() == [0, 5, end, 3, end, end]
    assert torch.equal(rows.attention[2], torch.tensor([True, True, False, False]))


def test_parts_that_are_not_text_are_refused() -> None:
    with pytest.raises(DataError, match="kind 'image'"):
        encode_prompt(byte_tokenizer(eos_token="<e>"), (Message("user", (Part("image", "a.png"),)),))


@pytest.mark.parametrize("template", [CHATML, None])
def test_texts_mappings_and_records_are_the_same_conversation(template: str | None) -> None:
    tokenizer = byte_tokenizer(eos_token="<e>")
    tokenizer.chat_template = template
    rendering = "template" if template else "dialogue"
    row = encode(tokenizer, ASK, SAY)
    for prompt in ("Two and two?", [{"role": "user", "content": "Two and two?"}]):
        for response in ("It is four.", [{"role": "assistant", "content": "It is four."}]):
            assert encode(tokenizer, prompt, response, rendering=rendering) == row
    with pytest.raises(DataError, match="'role' and 'content'"):
        encode_prompt(tokenizer, [{"role": "user", "content": 3}])
    with pytest.raises(DataError, match="a float came"):
        encode_prompt(tokenizer, 3.0)


def test_a_text_stands_as_it_is_where_there_is_no_template() -> None:
    tokenizer = byte_tokenizer(eos_token="<e>")
    assert tokenizer.decode(encode_prompt(tokenizer, "Two and two?")) == "Two and two?"
    chat = chat_tokenizer(CHATML, "<|im_start|>", eos_token="<|im_end|>")
    assert encode_prompt(chat, "Two and two?") == encode_prompt(chat, ASK)


def test_a_begin_token_is_never_doubled() -> None:
    tokenizer = piece_tokenizer()
    plain = encode_prompt(tokenizer, "It")
    assert tokenizer.convert_ids_to_tokens(plain) == ["<s>", "▁", "I", "t"]
    assert encode_prompt(tokenizer, "<s>It", "raw").count(0) == 1
    tokenizer.chat_template = GEMMA
    assert encode_prompt(tokenizer, "It").count(0) == 1


def test_ids_are_used_untouched() -> None:
    tokenizer = piece_tokenizer()
    assert encode(tokenizer, [5, 6], torch.tensor([7, 8])) == Encoded((5, 6), (7, 8))
    assert encode(tokenizer, [5, 6], "It").response[-1] == tokenizer.eos_token_id
    assert encode(None, [5], [6, 7, 8], max_length=3, on_long="cut") == Encoded((5,), (6, 7), 0, 1)
    with pytest.raises(GuerdonError, match="no tokenizer here"):
        encode(None, "It", [6])


def test_a_response_of_one_turn_ends_at_its_first_end_and_one_of_several_keeps_them_all() -> None:
    tokenizer = chat_tokenizer(CHATML, "<|im_start|>", eos_token="<|im_end|>")
    end = tokenizer.eos_token_id
    assert tokenizer.decode(encode(tokenizer, ASK, "Four.<|im_end|>Five.").response) == "Four.<|im_end|>"
    several = (*SAY, Message.of("user", "Sure?"), Message.of("assistant", "Yes."))
    row = encode(tokenizer, ASK, several)
    assert row.response.count(end) == 3 and row.response[-1] == end
    other = tokenizer.convert_tokens_to_ids("<|im_start|>")  # a model's own list of ends comes before the tokenizer's
    assert encode(byte_tokenizer(), ASK, "Four.", eos=[other, end]).response[-1] == other


def test_a_word_behind_an_unknown_one_is_not_lost() -> None:
    """Of 'the zzz' + 'sat on' a tokenizer of words reads 'zzzsat' as one unknown word."""
    core = Tokenizer(models.WordLevel({w: i for i, w in enumerate(["<unk>", "the", "sat", "on"])}, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, unk_token="<unk>")
    assert encode(tokenizer, "the zzz", "sat on") == Encoded((1, 0), (2, 3))


def test_an_encoder_tells_prompt_and_response_apart_by_its_separator() -> None:
    core = Tokenizer(models.WordLevel({w: i for i, w in enumerate(["[UNK]", "[CLS]", "[SEP]", "a", "b"])}, "[UNK]"))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    core.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]")
    assert encode(tokenizer, "a a", "b") == Encoded((1, 3, 3, 2), (4, 2))
    assert encode(tokenizer, "a a a", "b", max_length=5) == Encoded((1, 3, 2), (4, 2), dropped=2)
