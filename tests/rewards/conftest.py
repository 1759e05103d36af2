"""Tiny models with random weights, written by transformers itself, of the architectures people use."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

SENTENCE = "the a cat dog sat ran on mat rug and it is was not good bad yes no what who where why how very"
WORDS = SENTENCE.split(" ")
TEMPLATE = (
    "{% for m in messages %}<|{{ m['role'] }}|> {{ m['content'] }} </s> {% endfor %}"
    "{% if add_generation_prompt %}<|assistant|> {% endif %}"
)


def tiny_tokenizer(folder: Path, *, encoder: bool, pad: bool = True, template: bool = False) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    special = ["<pad>", "<unk>", "<s>", "</s>", "[CLS]", "[SEP]", "[MASK]", "<|user|>", "<|assistant|>", "<|system|>"]
    vocabulary = {w: i for i, w in enumerate([*special, *WORDS])}
    core = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    names: dict = {"unk_token": "<unk>"}
    if encoder:
        names |= {"cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]"}
        core.post_processor = processors.TemplateProcessing(
            single="[CLS] $A [SEP]", special_tokens=[("[CLS]", vocabulary["[CLS]"]), ("[SEP]", vocabulary["[SEP]"])]
        )
    else:
        names |= {"bos_token": "<s>", "eos_token": "</s>"}
    if pad:
        names["pad_token"] = "<pad>"
    made = PreTrainedTokenizerFast(tokenizer_object=core, **names)
    if template:
        made.chat_template = TEMPLATE
    made.save_pretrained(folder)


def tiny_config(kind: str):
    import transformers as t

    size = {"vocab_size": 100, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
    size |= {"max_position_embeddings": 64, "pad_token_id": 0}
    wide = {**size, "intermediate_size": 48, "num_key_value_heads": 2, "bos_token_id": 2, "eos_token_id": 3}
    if kind == "bert":
        return t.BertConfig(**size, intermediate_size=48)
    if kind == "gpt2":
        names = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64, "vocab_size": 100, "pad_token_id": 0}
        return t.GPT2Config(**names, bos_token_id=2, eos_token_id=3)
    kinds = {"llama": t.LlamaConfig, "qwen2": t.Qwen2Config, "gemma": t.GemmaConfig, "qwen3": t.Qwen3Config}
    more = {"head_dim": 8} if kind in ("gemma", "qwen3") else {}
    return kinds[kind](**wide, **more)


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """``tiny_model('llama')`` is the folder of a model and its tokenizer (llama, qwen2, qwen3, gemma, gpt2, bert)."""
    made: dict[tuple, Path] = {}

    def make(kind: str, *, head: str = "base", labels: int = 1, pad: bool = True, template: bool = False) -> Path:
        key = (kind, head, labels, pad, template)
        if key not in made:
            import transformers as t

            folder = tmp_path_factory.mktemp("-".join(map(str, key)))
            tiny_tokenizer(folder, encoder=kind == "bert", pad=pad, template=template)
            torch.manual_seed(0)
            config = tiny_config(kind)
            config.num_labels = labels
            maker = t.AutoModelForSequenceClassification if head == "classifier" else t.AutoModel
            model = maker.from_config(config)
            # Default initial weights are so small that every score is nearly 0 and no test could fail.
            with torch.no_grad():
                for p in model.parameters():
                    if p.ndim > 1:
                        p.normal_(0, 0.3)
            model.save_pretrained(folder)
            made[key] = folder
        return made[key]

    return make
