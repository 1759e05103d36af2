"""Llama shapes of some billions of parameters with random weights, and how many FLOPs a pass over their rows is."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

SIZES: Mapping[str, Mapping[str, Any]] = {
    "tiny": {"width": 64, "mlp": 128, "layers": 2, "heads": 4, "groups": 2, "vocabulary": 512, "tied": True},
    "1b": {"width": 2048, "mlp": 8192, "layers": 16, "heads": 32, "groups": 8, "vocabulary": 128256, "tied": True},
    "3b": {"width": 3072, "mlp": 8192, "layers": 28, "heads": 24, "groups": 8, "vocabulary": 128256, "tied": True},
    "8b": {"width": 4096, "mlp": 14336, "layers": 32, "heads": 32, "groups": 8, "vocabulary": 128256, "tied": False},
}


@dataclass(frozen=True)
class Work:
    """rows: groups of an update, each of one prompt; each: rows a group; prompt, response: their tokens."""

    rows: int
    each: int
    prompt: int
    response: int

    @property
    def tokens(self) -> int:
        """Tokens of all rows of an update, prompts counted with every row."""
        return self.rows * self.each * (self.prompt + self.response)


def model_of(size: str, device: str) -> Any:
    """A random causal LM in bfloat16 on the device."""
    import torch
    from transformers import AutoModelForCausalLM, LlamaConfig

    s = SIZES[size]
    config = LlamaConfig(
        hidden_size=s["width"],
        intermediate_size=s["mlp"],
        num_hidden_layers=s["layers"],
        num_attention_heads=s["heads"],
        num_key_value_heads=s["groups"],
        vocab_size=s["vocabulary"],
        tie_word_embeddings=s["tied"],
        max_position_embeddings=8192,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )
    with torch.device(device):
        return AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16).eval()


def compiled(body: Any) -> None:
    """Compile the parts of every layer that guerdon's packed forward and transformers' own both call."""
    for layer in body.layers:
        for part in (layer.mlp, layer.input_layernorm, layer.post_attention_layernorm):
            part.compile(dynamic=True)
    body.norm.compile(dynamic=True)


def parameters(model: Any, head: bool = True) -> int:
    """N: weights of linear layers, a tied output head included."""
    from torch import nn

    found = {n: m for n, m in model.named_modules() if isinstance(m, nn.Linear)}
    return sum(m.weight.numel() for n, m in found.items() if head or n != "lm_head")


def forward_flops(n: int, size: str, work: Work) -> float:
    """FLOPs of one forward pass over the rows of an update, each prompt once."""
    s = SIZES[size]
    tokens = work.rows * (work.prompt + work.each * work.response)
    whole, begin = (work.prompt + work.response) ** 2, work.prompt**2
    pairs = work.rows * (begin + work.each * (whole - begin))
    return 2.0 * n * tokens + 2.0 * s["layers"] * s["width"] * pairs
