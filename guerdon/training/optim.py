"""Optimiser settings as data: which of torch's optimisers, its learning rate over the run, clipping."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from guerdon.errors import GuerdonError

KINDS = ("adamw", "adam", "sgd")
SCHEDULES = ("constant", "linear", "cosine")


@dataclass(frozen=True)
class Optim:
    """lr: peak learning rate. schedule: after ``warmup`` updates of linear rise, 'constant', 'linear' or 'cosine' to 0
    at the end.

    kind: 'adamw', 'adam' (weight decay as L2) or 'sgd' (``momentum``). clip: largest gradient norm over all parameters,
    or None. fused: torch's fused kernels, faster on CPU and CUDA; they round otherwise, so a run differs in its last
    bits. Raises GuerdonError where a value is out of range.
    """

    lr: float = 1e-4
    kind: str = "adamw"
    schedule: str = "constant"
    warmup: int = 0
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.0
    momentum: float = 0.0
    clip: float | None = 1.0
    fused: bool = False

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise GuerdonError(f"Optim.kind must be one of {list(KINDS)}, but {self.kind!r} came.")
        if self.schedule not in SCHEDULES:
            raise GuerdonError(f"Optim.schedule must be one of {list(SCHEDULES)}, but {self.schedule!r} came.")
        if not self.lr >= 0 or not math.isfinite(self.lr):
            raise GuerdonError(f"Optim.lr must be finite and at least 0, but {self.lr} came.")
        if self.warmup < 0:
            raise GuerdonError(f"Optim.warmup must be at least 0 updates, but {self.warmup} came.")
        if self.clip is not None and not self.clip > 0:
            raise GuerdonError(f"Optim.clip must be above 0 or None, but {self.clip} came.")

    def rate(self, step: int, total: int) -> float:
        """Learning rate of the update after ``step`` updates out of ``total``; the first update of a warm-up of w has
        lr/w."""
        if step < self.warmup:
            return self.lr * (step + 1) / self.warmup
        if self.schedule == "constant":
            return self.lr
        progress = min(1.0, (step - self.warmup) / max(1, total - self.warmup))
        return self.lr * (1 - progress if self.schedule == "linear" else 0.5 * (1 + math.cos(math.pi * progress)))

    def make(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """A fresh torch optimiser over these parameters."""
        kept = list(parameters)
        fused = self.fused or None  # None: torch's own choice among the others
        if self.kind == "sgd":
            return torch.optim.SGD(
                kept, lr=self.lr, momentum=self.momentum, weight_decay=self.weight_decay, fused=fused
            )
        kind = torch.optim.AdamW if self.kind == "adamw" else torch.optim.Adam
        return kind(kept, lr=self.lr, betas=self.betas, eps=self.eps, weight_decay=self.weight_decay, fused=fused)


def take_step(
    optimiser: torch.optim.Optimizer, parameters: list[nn.Parameter], rate: float, clip: float | None
) -> float:
    """One update at learning rate ``rate``; returns the gradient's norm before clipping.

    Raises GuerdonError, before anything is changed, where the gradient is not finite.
    """
    grads = [p.grad for p in parameters if p.grad is not None]
    norm = float(torch.nn.utils.get_total_norm(grads)) if grads else 0.0
    if not math.isfinite(norm):
        raise GuerdonError(
            f"The gradient's norm is {norm}; nothing was changed. Lower the learning rate, or look for an infinite "
            "reward or log-prob."
        )
    if clip is not None and norm > clip:
        torch.nn.utils.clip_grads_with_norm_(parameters, clip, torch.tensor(norm))
    for group in optimiser.param_groups:
        group["lr"] = rate
    optimiser.step()
    return norm


def moments(optimiser: torch.optim.Optimizer, names: dict[str, nn.Parameter]) -> dict[str, dict[str, Tensor]]:
    """The optimiser's state by parameter name, as tensors alone."""
    state = optimiser.state
    return {
        name: {k: torch.as_tensor(v).detach() for k, v in state[p].items() if v is not None}
        for name, p in names.items()
        if p in state
    }


def load_moments(
    optimiser: torch.optim.Optimizer, names: dict[str, nn.Parameter], saved: dict[str, dict[str, Tensor]]
) -> None:
    """Put back what ``moments`` gave, bit for bit."""
    optimiser.state.clear()
    fused = any(group.get("fused") for group in optimiser.param_groups)
    for name, values in saved.items():
        # Adam's counter stays on the CPU where torch makes it so; everything else lies beside its parameter.
        optimiser.state[names[name]] = {
            k: v.clone() if k == "step" and not fused else v.clone().to(names[name].device) for k, v in values.items()
        }
