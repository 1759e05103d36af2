"""Matrix products of a forward pass in half precision; weights, sums along the layers, attention on CPUs and
log-probabilities stay float32, and so do logits unless they are asked for in half precision too."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch

from guerdon.errors import GuerdonError


@dataclass(frozen=True)
class Precision:
    """compute: the type of the backbone's matrix products and of the gradients' at the head; logits: that of the
    product that makes logits (but not those of a KL over the vocabulary). None: as wide as the weights, at least
    float32."""

    compute: torch.dtype | None = None
    logits: torch.dtype | None = None

    @property
    def key(self) -> str:
        """What log-probs hang on, '' where nothing is narrow."""
        named = (("", self.compute), ("logits ", self.logits))
        return " ".join(f"{name}{kind}" for name, kind in named if kind is not None)


def checked_compute(compute: torch.dtype | None, name: str = "compute") -> torch.dtype | None:
    """The same type. Raises GuerdonError with the setting's name unless it is None, bfloat16 or float16."""
    if compute not in (None, torch.bfloat16, torch.float16):
        raise GuerdonError(f"{name} must be None, torch.bfloat16 or torch.float16, but {compute!r} came.")
    return compute


def computing(device: torch.device, compute: torch.dtype | None) -> AbstractContextManager[object]:
    """torch's autocast to ``compute`` for one forward pass, or nothing for None. One pass: autocast keeps its half
    copies of the weights until it is left, and they must not outlive an update."""
    return nullcontext() if compute is None else torch.autocast(device.type, compute)
