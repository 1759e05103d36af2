"""Tiny random causal LMs of four real architectures, made by transformers itself, and tokenizers over a few words."""

from pathlib import Path
from typing import Any

import torch

ARCHITECTURES = ("llama", "qwen2", "gpt2", "gemma2")
COMMON: dict[str, Any] = {
    "vocab_size": 48,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 64,
    "max_position_embeddings": 64,
    "initializer_range": 0.3,
    "bos_token_id": 1,
    "eos_token_id": 3,
    "pad_token_id": 0,
}


def tiny(architecture: str, seed: int = 0, **changes: Any) -> Any:
    """A model in eval mode with weights large enough that its distributions are far from uniform."""
    import transformers as t

    torch.manual_seed(seed)
    given = {**COMMON, **changes}
    if architecture == "llama":
        model = t.LlamaForCausalLM(t.LlamaConfig(**given))
    elif architecture == "qwen2":
        model = t.Qwen2ForCausalLM(t.Qwen2Config(**given, tie_word_embeddings=True))
    elif architecture == "gpt2":
        names = ("vocab_size", "initializer_range", "bos_token_id", "eos_token_id")
        drop = {k: given[k] for k in ("embd_pdrop", "resid_pdrop", "attn_pdrop") if k in given}
        model = t.GPT2LMHeadModel(
            t.GPT2Config(n_positions=64, n_embd=32, n_layer=2, n_head=4, **{k: given[k] for k in names}, **drop)
        )
    elif architecture == "gemma2":
        # A cap of 2 on logits of this size is far from the identity; windows shorter than the rows are exercised too.
        model = t.Gemma2ForCausalLM(
            t.Gemma2Config(**given, head_dim=8, final_logit_softcapping=2.0, sliding_window=6, tie_word_embeddings=True)
        )
    else:
        raise ValueError(architecture)
    return model.eval()


def word_tokenizer(pad: bool = False, template: bool = False) -> Any:
    """A tokenizer over words w4 … w47 that puts <s> before a text; without pad token unless asked for."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    words = ["<pad>", "<s>", "<unk>", "</s>", *(f"w{i}" for i in range(4, 48))]
    inner = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    inner.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    made = PreTrainedTokenizerFast(
        tokenizer_object=inner,
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        **({"pad_token": "<pad>"} if pad else {}),
    )
    if template:
        made.chat_template = (
            "{{ bos_token }}{% for m in messages %} w{{ 40 if m.role == 'user' else 41 }} {{ m.content }} "
            "{{ eos_token }}{% endfor %}{% if add_generation_prompt %} w41 {% endif %}"
        )
    return made


def saved(folder: Path, architecture: str) -> Path:
    """A tiny model with its tokenizer, as transformers saves them."""
    path = folder / architecture
    tiny(architecture).save_pretrained(path)
    word_tokenizer(pad=True).save_pretrained(path)
    return path
