"""Tiny models with random weights, saved by transformers itself, and a small file of preferences."""

import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from guerdon.cli import main

CHAT = (
    "{{ bos_token }}{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}"
    "{% if m['role'] == 'assistant' %}{{ eos_token }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


def save_tokenizer(folder: Path, chat: bool = False) -> int:
    """A byte-level tokenizer without a pad token, trained on nothing; its vocabulary size."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    inner.train_from_iterator(
        [], trainers.BpeTrainer(vocab_size=258, initial_alphabet=alphabet, special_tokens=["<s>", "</s>"])
    )
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, bos_token="<s>", eos_token="</s>")
    if chat:
        tokenizer.chat_template = CHAT
    tokenizer.save_pretrained(folder)
    return len(tokenizer)


def save_llama(folder: Path, context: int) -> Path:
    """A Llama of one layer with random weights and a chat template."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    size = save_tokenizer(folder, chat=True)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=size,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=context,
        bos_token_id=0,
        eos_token_id=1,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama with a chat template and a context of 96 tokens."""
    return save_llama(tmp_path_factory.mktemp("llama"), 96)


@pytest.fixture(scope="session")
def gpt2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A GPT-2 without a chat template and without a pad token."""
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    folder = tmp_path_factory.mktemp("gpt2")
    size = save_tokenizer(folder)
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=size, n_embd=16, n_layer=1, n_head=2, n_positions=96, bos_token_id=0, eos_token_id=1)
    GPT2LMHeadModel(config).save_pretrained(folder)
    return folder


@pytest.fixture
def prefs(tmp_path: Path) -> Path:
    """24 pairs whose chosen side says yes."""
    draw = random.Random(0)
    rows = [
        {
            "prompt": f"say {i}",
            "chosen": "yes " * draw.randint(1, 3) + "!",
            "rejected": "no " * draw.randint(1, 3) + "!",
        }
        for i in range(24)
    ]
    return write_rows(tmp_path / "prefs.jsonl", rows)


def write_rows(path: Path, rows: list[dict[str, object]]) -> Path:
    """Rows as JSON Lines."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


Refused = Callable[..., str]


@pytest.fixture
def refused(capfd: pytest.CaptureFixture[str]) -> Refused:
    """Run the command line on arguments that must fail; gives the one sentence it said."""

    def call(*arguments: object, code: int = 1) -> str:
        capfd.readouterr()
        assert main([str(a) for a in arguments]) == code
        said = capfd.readouterr().err
        assert "Traceback" not in said
        last = said.strip().splitlines()[-1]
        assert last.startswith("guerdon: "), said
        return last

    return call
