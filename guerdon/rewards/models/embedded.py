"""A reward model on frozen embeddings: an embedder, named features of (prompt, response), their scaling, and a head."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from guerdon.errors import GuerdonError
from guerdon.rewards.models.embeddings import Embedder, load_embedder
from guerdon.rewards.models.heads import LinearHead, MLPHead, head_from
from guerdon.rewards.models.saving import read_about, whole_folder
from guerdon.worlds.text import as_messages

FORMAT = "guerdon-embedding-reward-1"
FEATURES = ("response", "prompt", "product", "difference", "exchange", "dialogue")


def last_turn(prompt: Any) -> str:
    """Text of the last user turn, the whole prompt where there is none."""
    turns = [m.text for m in as_messages(prompt) if m.role == "user"]
    return turns[-1] if turns else whole_prompt(prompt)


def whole_prompt(prompt: Any) -> str:
    """A prompt as a sentence encoder reads it: 'role: text' lines; a single user turn is its text alone."""
    turns = as_messages(prompt)
    if len(turns) == 1 and turns[0].role == "user":
        return turns[0].text
    return "\n".join(f"{m.role}: {m.text}" for m in turns)


def features(embedder: Embedder, prompts: Sequence[Any], responses: Sequence[str], names: Sequence[str]) -> Tensor:
    """Vectors [N, D·len(names)], the named blocks side by side.

    'response', 'prompt' (its last user turn): embeddings; 'product', 'difference': of those two, element by element;
    'exchange': embedding of last user turn and response as one text; 'dialogue': of the whole prompt and response.
    Features that depend on the prompt alone cancel in a comparison of two responses to it. Raises GuerdonError on an
    unknown name.
    """
    unknown = set(names) - set(FEATURES)
    if unknown or not names:
        raise GuerdonError(f"Features must be among {FEATURES}, but {sorted(unknown) or 'none'} came.")
    turns = [last_turn(p) for p in prompts]
    need_both = {"product", "difference"} & set(names)
    response = embedder(responses) if need_both or "response" in names else None
    prompt = embedder(turns) if need_both or "prompt" in names else None
    blocks: list[Tensor] = []
    for name in names:
        if name == "exchange":
            blocks.append(embedder([f"{t}\n{r}" for t, r in zip(turns, responses, strict=True)]))
        elif name == "dialogue":
            blocks.append(embedder([f"{whole_prompt(p)}\n{r}" for p, r in zip(prompts, responses, strict=True)]))
        elif name == "response" and response is not None:
            blocks.append(response)
        elif name == "prompt" and prompt is not None:
            blocks.append(prompt)
        elif response is not None and prompt is not None:
            blocks.append(response * prompt if name == "product" else response - prompt)
    return torch.cat(blocks, dim=1)


@dataclass(frozen=True)
class Scaling:
    """x ↦ (x − mean) / scale; mean [D], scale a scalar tensor; fitted on training rows only."""

    mean: Tensor
    scale: Tensor

    @staticmethod
    def fit(x: Tensor) -> "Scaling":
        """Centre rows [N,D] and give them unit mean squared norm, so that one weight decay means the same for any
        encoder.

        One common scale, not one a column: directions in which embeddings hardly vary must not be blown up.
        """
        mean = x.mean(0)
        scale = (x - mean).square().sum(1).mean().sqrt()
        return Scaling(mean, torch.where(scale > 1e-8, scale, torch.ones_like(scale)))

    def __call__(self, x: Tensor) -> Tensor:
        """The scaled rows."""
        return (x - self.mean) / self.scale


class EmbeddingRewardModel(nn.Module):
    """Scores [N,K] = head(scaling(features(prompt, response))); only the head has parameters."""

    def __init__(
        self,
        embedder: Embedder,
        head: LinearHead | MLPHead,
        names: Sequence[str],
        scaling: Scaling,
        model: str = "minilm",
    ) -> None:
        super().__init__()
        self.embedder = embedder
        self.head = head
        self.names = tuple(names)
        self.scaling = scaling
        self.model = model

    @property
    def members(self) -> int:
        """K."""
        return self.head.members

    def vectors(self, prompts: Sequence[Any], responses: Sequence[str]) -> Tensor:
        """The scaled features [N,D] the head sees."""
        return self.scaling(features(self.embedder, prompts, responses, self.names))

    def forward(self, vectors: Tensor) -> Tensor:
        """Scores [N,K] of scaled features."""
        return self.head(vectors)

    @torch.no_grad()
    def score_texts(self, prompts: Sequence[Any], responses: Sequence[str]) -> Tensor:
        """Scores [N,K] of texts, without gradient."""
        return self(self.vectors(prompts, responses))

    def save(self, folder: str | Path) -> None:
        """Head and scaling as safetensors, the rest as JSON; the encoder is named, not copied. Atomic."""
        from safetensors.torch import save_file

        with whole_folder(folder) as part:
            tensors = {f"head.{k}": v.detach().contiguous() for k, v in self.head.state_dict().items()}
            save_file({**tensors, "mean": self.scaling.mean, "scale": self.scaling.scale}, part / "model.safetensors")
            e = self.embedder
            about = {
                "format": FORMAT,
                "model": self.model,
                "embedder": {
                    "pooling": e.pooling,
                    "max_length": e.max_length,
                    "normalise": e.normalise,
                    "keep": e.keep,
                },
                "key": e.key(),
                "features": list(self.names),
                "head": self.head.settings(),
            }
            (part / "reward_model.json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: str | Path, *, device: str = "cpu", cache: bool | Path = True) -> "EmbeddingRewardModel":
        """The model that ``save`` wrote. Raises GuerdonError where the folder holds none or the encoder's weights
        differ."""
        from safetensors.torch import load_file

        folder = Path(folder)
        about = read_about(folder, FORMAT)
        embedder = load_embedder(about["model"], device=device, cache=cache, **about["embedder"])
        if embedder.key() != about["key"]:
            raise GuerdonError(
                f"The reward model in {folder} was fitted on other weights than {about['model']!r} has; fit it again."
            )
        tensors = load_file(folder / "model.safetensors")
        head = head_from(about["head"])
        head.load_state_dict({k.removeprefix("head."): v for k, v in tensors.items() if k.startswith("head.")})
        return cls(embedder, head, about["features"], Scaling(tensors["mean"], tensors["scale"]), about["model"]).eval()
