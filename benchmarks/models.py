"""The small Llama, its tokenizer and the real pairs that every text benchmark uses."""

import gzip
import json
import os
from functools import lru_cache
from pathlib import Path
from typing import Any

from benchmarks.arms import ROOT

VOCABULARY = 8192


def pairs() -> list[dict[str, str]]:
    """{'prompt', 'chosen', 'rejected'} of hh_rlhf's harmless test split (2,312), the prompt being all up to the
    chosen dialogue's last 'Assistant:'; pairs that differ before it are left out."""
    folder = Path(os.environ.get("GUERDON_DATA", ROOT.parent / "shared" / "data"))
    out = []
    with gzip.open(folder / "hh_rlhf" / "harmless-base" / "test.jsonl.gz", "rt", encoding="utf-8") as file:
        for line in file:
            record = json.loads(line)
            turn = "\n\nAssistant:"
            cut = record["chosen"].rfind(turn) + len(turn)
            if cut >= len(turn) and record["rejected"][:cut] == record["chosen"][:cut]:
                out.append({"prompt": record["chosen"][:cut], **{k: record[k][cut:] for k in ("chosen", "rejected")}})
    return [p for p in out if p["chosen"].strip() and p["rejected"].strip()]


@lru_cache(maxsize=1)
def tokenizer() -> Any:
    """A byte-level BPE of 8,192 tokens trained on those pairs, with its own padding and end tokens."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    special = ["<pad>", "<bos>", "<eos>"]
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    raw.train_from_iterator((p[k] for p in pairs() for k in ("prompt", "chosen", "rejected")), trainer)
    return PreTrainedTokenizerFast(tokenizer_object=raw, pad_token="<pad>", bos_token="<bos>", eos_token="<eos>")


def config(**changes: Any) -> Any:
    """Llama of 5.3 M parameters: 4 layers of width 256, tied embeddings."""
    from transformers import LlamaConfig

    plain = {
        "vocab_size": VOCABULARY,
        "hidden_size": 256,
        "intermediate_size": 688,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 4,
        "max_position_embeddings": 1024,
        "tie_word_embeddings": True,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
    }
    return LlamaConfig(**{**plain, **changes})


def causal_lm(seed: int = 0, **changes: Any) -> Any:
    """A randomly initialised model, the same for the same seed."""
    import torch
    from transformers import LlamaForCausalLM

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return LlamaForCausalLM(config(**changes)).eval()
