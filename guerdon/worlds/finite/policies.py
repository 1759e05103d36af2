"""Softmax policies over enumerated responses: modules whose forward is the whole table of logits."""

import torch
from torch import Tensor, nn


class TabularPolicy(nn.Module):
    """One free logit for every prompt and response: ``policy()`` is [X,Y]. Independent problems (seeds, say) can
    share one table as blocks of prompts."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.logits = nn.Parameter(logits.detach().clone())

    def forward(self) -> Tensor:
        """Logits [X,Y]."""
        return self.logits


class LinearPolicy(nn.Module):
    """Logits linear in features: ``policy()`` = features [X,Y,F] · weight [F] + base [X,Y]. Prompts share the weight,
    so what is learned on some carries over to others; ``base`` (fixed, 0 if None) is where it starts from."""

    features: Tensor
    base: Tensor

    def __init__(self, features: Tensor, weight: Tensor | None = None, base: Tensor | None = None) -> None:
        super().__init__()
        self.register_buffer("features", features.detach().clone())
        self.register_buffer("base", features.new_zeros(features.shape[:2]) if base is None else base.detach().clone())
        self.weight = nn.Parameter(features.new_zeros(features.shape[2]) if weight is None else weight.detach().clone())

    def forward(self) -> Tensor:
        """Logits [X,Y]."""
        return torch.einsum("xyf,f->xy", self.features, self.weight) + self.base
