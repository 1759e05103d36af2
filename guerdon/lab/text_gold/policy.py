"""The policy: a Llama of about 90,000 parameters, warm-started on the demonstrations by the project's own loop."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from guerdon.batch import Samples, Seed
from guerdon.lab.text_gold import language as words
from guerdon.lab.text_gold.demonstrations import Demonstrations
from guerdon.objectives import sft
from guerdon.training.optim import Optim
from guerdon.training.recipe import Recipe
from guerdon.training.run import run
from guerdon.training.sources import Recorded
from guerdon.worlds import Sampling, Snapshots
from guerdon.worlds.text import TextWorld

if TYPE_CHECKING:
    from transformers import LlamaConfig, LlamaForCausalLM

SAMPLING = Sampling(limit=words.MAX_RESPONSE)


def configuration() -> "LlamaConfig":
    """Hidden 64, 2 layers, 4 heads, MLP 128, untied; the context is prompt and longest response."""
    from transformers import LlamaConfig

    return LlamaConfig(
        vocab_size=len(words.VOCABULARY),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=words.PROMPT_LENGTH + words.MAX_RESPONSE,
        tie_word_embeddings=False,
        initializer_range=0.05,
        pad_token_id=words.PAD,
        bos_token_id=words.BOS,
        eos_token_id=words.EOS,
    )


def fresh_policy(seed: Seed) -> "LlamaForCausalLM":
    """An untrained policy; its weights depend on ``seed`` alone and torch's global generator is left as it was."""
    from transformers import LlamaForCausalLM

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed.child("init").integer(31))
        return LlamaForCausalLM(configuration()).eval()


def text_world(model: "LlamaForCausalLM") -> TextWorld:
    """The world of text over this policy and the language's tokenizer."""
    return TextWorld(model, words.tokenizer())


def recorded(prompts: Sequence[str], responses: Sequence[Sequence[int]]) -> Samples:
    """Samples of given responses (ids)."""
    rows = words.token_rows(prompts, responses)
    return Samples(rows, list(prompts), terminated=torch.ones(len(prompts), dtype=torch.bool))


def warm_start(model: "LlamaForCausalLM", shown: Demonstrations, seed: Seed, steps: int = 400) -> None:
    """Supervised fine-tuning in place: AdamW 3e-3, 20 warm-up steps and linearly to 0, 128 demonstrations a step."""
    source = Recorded(recorded(shown.prompts, shown.responses), min(128, len(shown.prompts)), seed=seed.child("order"))
    optim = Optim(lr=3e-3, weight_decay=0.01, warmup=min(20, steps // 4), schedule="linear")
    run(Recipe(text_world(model), Snapshots(model), source, sft(), optim, rounds=steps, seed=seed.child("sft")))
