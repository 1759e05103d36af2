"""What both arms of the GRPO benchmark share: model, prompts, reward, optimiser settings, and a stopwatch of stages."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import models

LR = 1e-4
WARM = 1
"""Steps that are run first and not counted."""
SHORTEST, LONGEST = 40, 120
"""Tokens of a prompt."""


def write(folder: str, layers: int, made: bool = False) -> str:
    """Put a random model, its tokenizer and prompts into a folder, which comes back. made: prompts of made words, where
    there is no data."""
    tokenizer = made_tokenizer() if made else models.tokenizer()
    texts = _made_prompts() if made else [p["prompt"] for p in models.pairs()]
    sizes = [len(ids) for ids in tokenizer(texts)["input_ids"]]
    kept = [t for t, size in zip(texts, sizes, strict=True) if SHORTEST <= size <= LONGEST]
    models.causal_lm(num_hidden_layers=layers).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (Path(folder) / "prompts.json").write_text(json.dumps(kept))
    return folder


def load(folder: str, dtype: str = "float32", **given: Any) -> tuple[Any, Any, list[str]]:
    """(model, tokenizer, prompts) of a folder."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, dtype), **given).eval()
    prompts = json.loads((Path(folder) / "prompts.json").read_text())
    return model, AutoTokenizer.from_pretrained(folder), prompts


def made_words(vocabulary: int = models.VOCABULARY) -> list[str]:
    """The words of ``made_tokenizer``."""
    return [f"{'a' * (i % 3)}w{i}" for i in range(vocabulary - 3)]


def _made_prompts() -> list[str]:
    words = made_words()
    return [" ".join(words[(i * 131 + j * 7) % 8000] for j in range(SHORTEST + i % 80)) for i in range(512)]


def made_tokenizer(vocabulary: int = models.VOCABULARY) -> Any:
    """A tokenizer whose every token is a word."""
    from tokenizers import Tokenizer, pre_tokenizers
    from tokenizers import models as raw
    from transformers import PreTrainedTokenizerFast

    words = ["<pad>", "<bos>", "<eos>", *made_words(vocabulary)]
    inner = Tokenizer(raw.WordLevel({w: i for i, w in enumerate(words)}, unk_token="<pad>"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=inner, pad_token="<pad>", bos_token="<bos>", eos_token="<eos>")


# The reward: three cheap components, one clipped, two standardised within their prompt, and a weighted sum.


def variety(responses: Sequence[str]) -> list[float]:
    """Share of words that are not repeats."""
    return [len(set(words)) / max(1, len(words)) for words in map(str.split, responses)]


def brevity(responses: Sequence[str]) -> list[float]:
    """−|words − 40| / 40."""
    return [-abs(len(r.split()) - 40) / 40 for r in responses]


def vowels(responses: Sequence[str]) -> list[float]:
    """Share of vowels."""
    return [sum(map(r.count, "aeiou")) / max(1, len(r)) for r in responses]


def composed(stages: "Stages") -> Any:
    """The reward as guerdon composes it; the functions' own time is the stage 'reward'."""
    from guerdon.rewards import FunctionReward
    from guerdon.shaping import clip, zscore

    def part(f: Callable[[Sequence[str]], list[float]]) -> FunctionReward:
        call = stages.timed("reward", f)
        return FunctionReward(lambda responses: call(responses), name=f.__name__)

    return (
        0.5 * part(variety).pipe(zscore("prompt"))
        + 0.3 * part(brevity).pipe(clip(-1.0, 0.0))
        + 0.2 * part(vowels).pipe(zscore("prompt"))
    )


def plain(completions: Sequence[str], per_start: int) -> list[float]:
    """The same reward as one function, for rows of one prompt beside each other."""
    import torch

    def standardised(x: list[float]) -> Any:
        groups = torch.tensor(x).view(-1, per_start)
        return ((groups - groups.mean(1, keepdim=True)) / (groups.std(1, keepdim=True) + 1e-6)).flatten()

    clipped = torch.tensor(brevity(completions)).clamp(-1.0, 0.0)
    both = 0.5 * standardised(variety(completions)) + 0.2 * standardised(vowels(completions))
    return (both + 0.3 * clipped).tolist()


@dataclass
class Stages:
    """Seconds by stage; while a stage runs within another, its time is its own alone. ``lap`` ends a step."""

    seconds: dict[str, float] = field(default_factory=dict)
    laps: list[dict[str, float]] = field(default_factory=list)
    _open: list[str] = field(default_factory=lambda: ["rest"])
    _since: float = field(default_factory=lambda: time.perf_counter())

    def timed(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """The call, its time charged to the stage."""

        def inner(*args: Any, **given: Any) -> Any:
            self._charge()
            self._open.append(name)
            try:
                return call(*args, **given)
            finally:
                self._charge()
                self._open.pop()

        return inner

    def lap(self) -> None:
        """Keep the stages since the last lap."""
        self._charge()
        self.laps.append({**self.seconds, "step": sum(self.seconds.values())})
        self.seconds = {}

    def median(self, skip: int = WARM) -> dict[str, float]:
        """The lap of median length after the first ``skip``."""
        kept: list[dict[str, float]] = sorted(self.laps[skip:], key=lambda lap: lap["step"])
        return kept[(len(kept) - 1) // 2]

    def least(self, skip: int = WARM) -> float:
        """Seconds of the shortest lap after the first ``skip``."""
        return min(lap["step"] for lap in self.laps[skip:])

    def _charge(self) -> None:
        now = time.perf_counter()
        self.seconds[self._open[-1]] = self.seconds.get(self._open[-1], 0.0) + now - self._since
        self._since = now


def total_rows(settings: Mapping[str, Any]) -> int:
    """Rows of a step."""
    return int(settings["prompts"] * settings["per_start"])
