"""A tiny random Llama and a tokenizer of a few words, made here, for hosts' real training steps."""

from typing import Any

import torch

WORDS = [f"w{i}" for i in range(26)]
TEMPLATE = (
    "{% for m in messages %}<|{{ m['role'] }}|> {{ m['content'] }} </s>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|> {% endif %}"
)


def tokenizer(template: bool = False, pad: str = "<pad>") -> Any:
    """Words split at white space; <s>, </s>, <pad>."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    names = ["<pad>", "<unk>", "<s>", "</s>", "<|user|>", "<|assistant|>", *WORDS]
    core = Tokenizer(models.WordLevel({w: i for i, w in enumerate(names)}, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    made = PreTrainedTokenizerFast(
        tokenizer_object=core, unk_token="<unk>", bos_token="<s>", eos_token="</s>", pad_token=pad
    )
    made.chat_template = TEMPLATE if template else None
    return made


def config(**changes: Any) -> Any:
    """Two layers of width 16."""
    from transformers import LlamaConfig

    return LlamaConfig(
        vocab_size=32,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=64,
        initializer_range=0.3,
        bos_token_id=2,
        eos_token_id=3,
        pad_token_id=0,
        **changes,
    )


def policy() -> Any:
    """A causal model with weights large enough that its distributions are far from uniform."""
    from transformers import LlamaForCausalLM

    torch.manual_seed(0)
    return LlamaForCausalLM(config())


def chatml_model(eos: str = "<|im_end|>") -> Any:
    """A reward model of bytes with ChatML's template, pad = end of turn as many published models have it."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    from guerdon.batch import Seed
    from guerdon.rewards.models import ScalarRewardModel

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    core = Tokenizer(models.BPE({c: i for i, c in enumerate(letters)}, []))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made = PreTrainedTokenizerFast(tokenizer_object=core, eos_token=eos, pad_token="<|im_end|>")
    made.chat_template = (
        "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}"
        "{{ '<|im_start|>assistant\n' if add_generation_prompt else '' }}\n"
    )
    wide = policy().model
    wide.resize_token_embeddings(260, mean_resizing=False)
    return ScalarRewardModel(wide.eval(), made, max_length=60, seed=Seed(3))


def settings(kind: type, folder: Any, **changes: Any) -> Any:
    """A TRL configuration of one or two steps of four completions on the CPU, nothing saved or reported."""
    given: dict[str, Any] = {
        "output_dir": str(folder),
        "per_device_train_batch_size": 4,
        "max_steps": 1,
        "max_completion_length": 6,
        "use_cpu": True,
        "bf16": False,
        "report_to": [],
        "logging_steps": 1,
        "save_strategy": "no",
        "disable_tqdm": True,
    }
    return kind(**{**given, **changes})
