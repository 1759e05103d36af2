"""The world of text: causal LMs of transformers, sampled and re-scored on token ids.

Belongs here: generation, re-scoring, loading with LoRA, and the one way from conversations to token ids (``rendering``,
``encoding``, ``tokens``), which reward models and recorded data take too. Does not belong here: reward models
(``rewards.models``), multi-turn environments (``worlds.agents``), or anything that reads what a text says.
transformers and peft are imported where used.
"""

from guerdon.worlds.text.encoding import Encoded, encode, encode_prompt, encode_response, surround, tokenizer_key
from guerdon.worlds.text.loading import Lora, add_lora, load_policy
from guerdon.worlds.text.prepared import prepared
from guerdon.worlds.text.rendering import as_messages, render_prompt, render_response, rendering_for
from guerdon.worlds.text.tokens import pad_rows, right_padded, token_rows
from guerdon.worlds.text.world import TextWorld

__all__ = [
    "Encoded",
    "Lora",
    "TextWorld",
    "add_lora",
    "as_messages",
    "encode",
    "encode_prompt",
    "encode_response",
    "load_policy",
    "pad_rows",
    "prepared",
    "render_prompt",
    "render_response",
    "rendering_for",
    "right_padded",
    "surround",
    "token_rows",
    "tokenizer_key",
]
