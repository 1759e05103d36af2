"""Constraints by multipliers: mixing channels at their dual prices, and the step that moves the prices."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from guerdon.errors import GuerdonError
from guerdon.reduce import masked, real
from guerdon.rewards.interface import State


def multipliers(lambdas: Tensor, equality: bool) -> Tensor:
    """μ = tanh(λ) in (−1, 1) for equality, σ(λ) in (0, 1) for inequality; [n] -> [n]."""
    return torch.tanh(lambdas) if equality else torch.sigmoid(lambdas)


@dataclass(frozen=True)
class Lagrangian:
    """(n − Σ μ_i) · base + Σ μ_i · channel_i; see ``lagrangian``."""

    base: str
    constraints: tuple[str, ...]
    equality: bool = False
    name: str = "lagrangian"

    def init(self) -> State:
        """λ = 0 for every constraint: μ is ½ (inequality) or 0 (equality)."""
        return {"multipliers": torch.zeros(len(self.constraints))}

    def __call__(self, names: tuple[str, ...], values: Tensor, ok: Tensor, state: State) -> tuple[Tensor, Tensor]:
        """(mix [*], base ok [*]). Raises GuerdonError where a channel is absent."""
        absent = {self.base, *self.constraints} - set(names)
        if absent:
            raise GuerdonError(f"lagrangian mixes {[self.base, *self.constraints]}, but {sorted(absent)} did not come.")
        base = names.index(self.base)
        at = [names.index(c) for c in self.constraints]
        mu = multipliers(state["multipliers"].detach(), self.equality).to(values)
        share = mu.reshape(-1, *(1 for _ in values.shape[1:]))
        kept = masked(values, ok)
        mixed = (len(at) - mu.sum()) * kept[base] + (share * kept[at]).sum(0)
        return masked(mixed, ok[base]), ok[base]


class DualStep(NamedTuple):
    """lambdas and momentum [n] after a step."""

    lambdas: Tensor
    momentum: Tensor


def lagrangian(base: str, constraints: tuple[str, ...], *, equality: bool = False) -> Lagrangian:
    """Constrained RLHF's mixture (Moskovitz et al. 2023): A = (n − Σ μ_i) A_base + Σ μ_i A_i over n constraints.

    state['multipliers']: λ [n] in the order of ``constraints``; μ = σ(λ) (inequality, μ-PPO) or tanh(λ) (equality,
    ξ-PPO). All μ = 0 leaves n times the base (the KL channel); a constraint not ok for a unit adds nothing there.
    Standardise each advantage over the batch first: μ is then the only relative weight.
    """
    if not constraints or base in constraints or len(set(constraints)) != len(constraints):
        raise GuerdonError(
            f"lagrangian needs a base and other, distinct channels, but {base!r} and {constraints} came."
        )
    return Lagrangian(base, tuple(constraints), equality)


def dual_step(
    lambdas: Tensor,
    gaps: Tensor,
    lr: float = 1e-2,
    *,
    equality: bool = False,
    momentum: Tensor | None = None,
    friction: float = 0.1,
    clip: float | None = 0.5,
) -> DualStep:
    """One descent step on L = Σ μ_i(λ_i) · gap_i, gap = estimated value − target, [n] and detached.

    μ_i rises while the value is below its target and falls above it. The gradient μ′(λ) gap is scaled to norm ``clip``;
    momentum m ← friction · m + gradient, λ ← λ − lr · m (defaults of the released code of Moskovitz et al. 2023).
    """
    if lambdas.shape != gaps.shape:
        raise GuerdonError(
            f"dual_step needs one gap a multiplier, but {list(lambdas.shape)} and {list(gaps.shape)} came."
        )
    lambdas, gaps = real(lambdas), real(gaps)
    mu = multipliers(lambdas.detach(), equality)
    gradient = (1 - mu.square() if equality else mu * (1 - mu)) * gaps.detach()
    if clip is not None:
        gradient = gradient * (clip / gradient.norm().clamp(min=clip))
    velocity = gradient if momentum is None else friction * momentum + gradient
    return DualStep(lambdas.detach() - lr * velocity, velocity)
