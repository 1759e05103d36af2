"""Matrix products of a forward pass in half precision; weights, sums along the layers, attention on CPUs, logits and
log-probabilities stay float32."""

from contextlib import AbstractContextManager, nullcontext

import torch

from guerdon.errors import GuerdonError


def checked_compute(compute: torch.dtype | None) -> torch.dtype | None:
    """The same type. Raises GuerdonError unless it is None, bfloat16 or float16."""
    if compute not in (None, torch.bfloat16, torch.float16):
        raise GuerdonError(f"compute must be None, torch.bfloat16 or torch.float16, but {compute!r} came.")
    return compute


def computing(device: torch.device, compute: torch.dtype | None) -> AbstractContextManager[object]:
    """torch's autocast to ``compute`` for one forward pass, or nothing for None. One pass: autocast keeps its half
    copies of the weights until it is left, and they must not outlive an update."""
    return nullcontext() if compute is None else torch.autocast(device.type, compute)
