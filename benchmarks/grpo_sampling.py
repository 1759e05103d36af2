"""Sampling alone: transformers' ``generate`` beside ``TextWorld.sample``, at exactly ``tokens`` tokens a row."""

import time
from collections.abc import Callable, Mapping
from typing import Any

from benchmarks import grpo_task as task

PEER: dict[str, Any] = {"threads": 2, "dtype": "float32", "attention": "sdpa", "cache": None, "slices": 1}
PEER_TRIED = (
    {"threads": 1},
    {"attention": "eager"},
    {"dtype": "bfloat16"},
)
OURS: dict[str, Any] = {"threads": 2, "dtype": "float32"}
OURS_TRIED = ({"threads": 1}, {"dtype": "bfloat16"})
"""Where the sweeps begin, and one change at a time. slices: calls of generate that share the rows."""


def peer(settings: Mapping[str, Any]) -> dict[str, float]:
    """Seconds of ``generate`` for prompts × per_start rows, the least of ``repeats``."""
    import torch

    model, tokenizer, prompts = task.load(
        settings["folder"], settings["dtype"], attn_implementation=settings["attention"]
    )
    tokenizer.padding_side = "left"
    texts = [p for p in prompts[: settings["prompts"]] for _ in range(settings["per_start"])]
    cache = {"cache_implementation": settings["cache"]} if settings["cache"] else {}
    size = -(-len(texts) // settings["slices"])

    @torch.inference_mode()
    def generate() -> int:
        made = 0
        for begin in range(0, len(texts), size):
            batch = tokenizer(texts[begin : begin + size], return_tensors="pt", padding=True)
            out = model.generate(
                input_ids=batch["input_ids"],
                attention_mask=batch["attention_mask"],
                do_sample=True,
                top_k=0,
                top_p=1.0,
                temperature=1.0,
                min_new_tokens=settings["tokens"],
                max_new_tokens=settings["tokens"],
                disable_compile=True,
                **cache,
            )
            made += out[:, batch["input_ids"].shape[1] :].numel()
        return made

    return _timed(generate, settings)


def ours(settings: Mapping[str, Any]) -> dict[str, float]:
    """Seconds of ``TextWorld.sample`` for the same rows, from the same texts, log-probabilities and texts of the
    responses included."""
    from guerdon.batch import Seed
    from guerdon.worlds import Sampling, Snapshots
    from guerdon.worlds.text import TextWorld

    model, tokenizer, prompts = task.load(settings["folder"], settings["dtype"])
    world, snapshots = TextWorld(model, tokenizer), Snapshots(model)
    sampling = Sampling(limit=settings["tokens"], minimum=settings["tokens"])
    count = 0

    def generate() -> int:
        nonlocal count
        count += 1
        got = world.sample(
            snapshots, prompts[: settings["prompts"]], settings["per_start"], sampling, Seed(0).child(count)
        )
        return int(got.payload.response.sum())

    return _timed(generate, settings)


def _timed(generate: Callable[[], int], settings: Mapping[str, Any]) -> dict[str, float]:
    expected = task.total_rows(settings) * settings["tokens"]
    least = float("inf")
    for turn in range(settings["repeats"] + 1):
        began = time.perf_counter()
        made = generate()
        if made != expected:
            raise RuntimeError(f"{expected} tokens should have come, but {made} came.")
        least = min(least, time.perf_counter() - began) if turn else least
    return {"seconds": least, "tokens_per_second": expected / least}
