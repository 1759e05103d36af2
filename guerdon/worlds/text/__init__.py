"""The world of text: causal LMs of transformers, sampled and re-scored on token ids.

Belongs here: generation, re-scoring, chat templates, loading with LoRA. Does not belong here: reward models
(``rewards.models``), multi-turn environments (``worlds.agents``), or anything that reads what a text says.
transformers and peft are imported where used.
"""

from guerdon.worlds.text.loading import Lora, add_lora, load_policy
from guerdon.worlds.text.prompts import encode_prompt, encode_response, tokenizer_key
from guerdon.worlds.text.tokens import token_rows
from guerdon.worlds.text.world import TextWorld

__all__ = [
    "Lora",
    "TextWorld",
    "add_lora",
    "encode_prompt",
    "encode_response",
    "load_policy",
    "token_rows",
    "tokenizer_key",
]
