"""Preference models that can hold cycles: a head that embeds each response, the model on frozen text embeddings, and
its reward, the mean score against a prompt's other responses."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from guerdon.batch import Channel, Samples, Scores, Seed
from guerdon.preferences.general import skew_score
from guerdon.reduce import group_mean
from guerdon.rewards.interface import Context, Reward, State
from guerdon.rewards.models.embedded import Scaling, features
from guerdon.rewards.models.embeddings import Embedder


class GeneralPreferenceHead(nn.Module):
    """Embeds a response for ``skew_score``: v = W x in R^{2k}, and a prompt as the gate λ = k·softmax(W_p x_p/√P)
    (Zhang et al. 2024, 2410.02197, section 4).

    dimension: D of the vectors. blocks: k; one holds a cycle of three, two a cycle and a ranking at once. prompt: P of
    the prompt's vectors, None for no gate. normalise: scale v to length 1 (the paper's option; a ranking then needs
    another block). Weights are drawn from ``seed`` with deviation 1/√D; the released code takes 1/(D + 1), from where a
    bilinear score leaves 0 slowly.
    """

    def __init__(
        self,
        dimension: int,
        blocks: int = 1,
        *,
        prompt: int | None = None,
        normalise: bool = False,
        seed: Seed | None = None,
    ) -> None:
        super().__init__()
        key = (seed or Seed(0)).child("general_preference")
        draw = torch.randn(2 * blocks, dimension, generator=key.child("weight").torch())
        self.weight = nn.Parameter(draw / math.sqrt(dimension))
        self.prompt_weight = None if prompt is None else nn.Parameter(torch.zeros(blocks, prompt))
        self.normalise = normalise

    @property
    def blocks(self) -> int:
        """k."""
        return len(self.weight) // 2

    def forward(self, x: Tensor) -> Tensor:
        """Embeddings [N,2k] of vectors [N,D]; float32 whatever the vectors' dtype."""
        v = x.float() @ self.weight.T
        return nn.functional.normalize(v, dim=-1) if self.normalise else v

    def gate(self, prompt: Tensor | None) -> Tensor | None:
        """λ [N,k] of prompt vectors [N,P], summing to k; None without a gate."""
        if self.prompt_weight is None or prompt is None:
            return None
        logits = prompt.float() @ self.prompt_weight.T / math.sqrt(prompt.shape[-1])
        return self.blocks * logits.softmax(-1)

    def score(self, first: Tensor, second: Tensor, prompt: Tensor | None = None) -> Tensor:
        """s(first ≻ second) [N] of vectors [N,D]."""
        return skew_score(self(first), self(second), self.gate(prompt))


class GeneralPreferenceModel(nn.Module):
    """A GeneralPreferenceHead on frozen embeddings of (prompt, response); only the head has parameters.

    temperature: τ of P(first ≻ second) = σ(s/τ).
    """

    def __init__(
        self,
        embedder: Embedder,
        head: GeneralPreferenceHead,
        names: Sequence[str],
        scaling: Scaling,
        temperature: float = 0.1,
    ) -> None:
        super().__init__()
        self.embedder, self.head, self.scaling, self.temperature = embedder, head, scaling, temperature
        self.names = tuple(names)

    @torch.no_grad()
    def embed_texts(self, prompts: Sequence[Any], responses: Sequence[str]) -> Tensor:
        """Embeddings v [N,2k]: K responses cost K passes, whatever is compared with what."""
        embedded: Tensor = self.head(self.scaling(features(self.embedder, prompts, responses, self.names)))
        return embedded

    @torch.no_grad()
    def gate_texts(self, prompts: Sequence[Any]) -> Tensor | None:
        """λ [N,k] of prompts; None without a gate."""
        if self.head.prompt_weight is None:
            return None
        return self.head.gate(features(self.embedder, prompts, [""] * len(prompts), ("prompt",)))

    def compare_texts(self, prompts: Sequence[Any], first: Sequence[str], second: Sequence[str]) -> Tensor:
        """s(first ≻ second) [N] of texts, without gradient."""
        v_1, v_2 = self.embed_texts(prompts, first), self.embed_texts(prompts, second)
        return skew_score(v_1, v_2, self.gate_texts(prompts))


class GeneralPreferenceReward(Reward):
    """ŝ(y ≻ π) of every row: its mean score against all responses to its prompt in the batch, in the model's units.

    It depends on which rows come together: a prompt with one response scores 0. What GPO regresses on.
    """

    channels = ("preference",)

    def __init__(self, model: GeneralPreferenceModel, name: str = "general_preference") -> None:
        self.model, self.name = model, name

    def score(self, samples: Samples, state: State, context: Context) -> tuple[Scores, State]:
        """One value a row; stateless."""
        v = self.model.embed_texts(samples.prompts, samples.texts())
        wide = v.shape[1]
        ids = samples.partition("prompt").ids.to(v.device)
        spread = torch.where(ids[:, None] >= 0, ids[:, None] * wide + torch.arange(wide, device=v.device), -1)
        value = skew_score(v, group_mean(v, spread), self.model.gate_texts(samples.prompts))
        return Scores({"preference": Channel(value)}), state
