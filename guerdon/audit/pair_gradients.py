"""Gradients of both sides of pairs: why the chosen side falls, and how a weaker rejected side changes it (cards 98,
168)."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from guerdon.batch import Batch, Pairs, Steps
from guerdon.errors import GuerdonError
from guerdon.objectives import Objective


@dataclass(frozen=True)
class ShiftTerms:
    """u1, u2 [P] of every pair. To first order in one step the mean log π(y_w) gains (1 − f)·mean u1 over DPO, and the
    mean σ(γh) gains (1 − f)·mean u2."""

    u1: Tensor
    u2: Tensor

    def summary(self) -> dict[str, float]:
        """Means, and the shares of pairs with u1 > 0 and with u2 < 0 (71 % and 82 % in the paper)."""
        shares = {"share_u1_positive": self.u1 > 0, "share_u2_negative": self.u2 < 0}
        return {
            "u1": float(self.u1.mean()),
            "u2": float(self.u2.mean()),
            **{k: float(x.float().mean()) for k, x in shares.items()},
        }


def difference_only(objective: Objective) -> bool | None:
    """Whether a pairwise objective pushes both sides equally hard in opposite directions, so that it sees their
    difference alone and nothing holds the level of either (DPO does, RPO and DPO-Shift do not).

    Asked of a made-up pair of equal length; None where the objective reads more than a pair's log-probabilities.
    """
    made = torch.Generator().manual_seed(0)
    names = dict.fromkeys(("policy", *objective.logps()))
    logp = {name: -torch.rand(2, 3, generator=made, dtype=torch.float64) for name in names}
    policy = logp["policy"].requires_grad_()
    pairs = Pairs(torch.tensor([0]), torch.tensor([1]))
    batch = Batch(Steps(torch.ones(2, 3, dtype=torch.bool), logp), pairs=pairs)
    try:
        value = objective.loss(batch).value
    except (GuerdonError, LookupError):
        return None
    if not value.requires_grad:
        return None
    (push,) = torch.autograd.grad(value, policy)
    winner, loser = push.sum(-1).tolist()
    return abs(winner + loser) <= 1e-6 * max(abs(winner), abs(loser))


def pair_gradients(chosen: Tensor, rejected: Tensor, parameters: Iterable[nn.Parameter]) -> tuple[Tensor, Tensor]:
    """(∇log π(y_w), ∇log π(y_l)) of every pair, flat, [P,D] each, from log-probabilities [P] with their graph.

    One backward pass a row: take few pairs. A parameter that a row does not touch counts 0. Raises GuerdonError where
    the log-probabilities carry no graph.
    """
    held = list(parameters)
    if not (chosen.requires_grad and rejected.requires_grad):
        raise GuerdonError("pair_gradients wants log-probabilities with their graph, but these need no gradient.")

    def of(logp: Tensor) -> Tensor:
        grads = torch.autograd.grad(logp, held, retain_graph=True, allow_unused=True)
        return torch.cat(
            [(torch.zeros_like(p) if g is None else g).reshape(-1) for p, g in zip(held, grads, strict=True)]
        )

    return torch.stack([of(x) for x in chosen]), torch.stack([of(x) for x in rejected])


def shift_terms(
    chosen: Tensor, rejected: Tensor, margin: Tensor, beta: float, gamma: float = 1.0, lr: float = 1.0
) -> ShiftTerms:
    """u1 = c·g_l·g_w and u2 = η₁·(g_l·g_w − ‖g_l‖²) of gradients [P,D] and margins h = ρ_w − ρ_l [P] (Yang et al. 2025,
    2502.07599, theorem 2.1).

    c = lr·β·σ(−βh) and η₁ = c·γ·σ(γh)σ(−γh), both positive: each pair's own gradient moves its own side. γ: the slope
    of the smoothed accuracy σ(γh). Pairs are measured each by itself, as if it alone were stepped on.
    """
    across = (chosen * rejected).sum(-1)
    push = lr * beta * torch.sigmoid(-beta * margin)
    slope = push * gamma * torch.sigmoid(gamma * margin) * torch.sigmoid(-gamma * margin)
    return ShiftTerms(push * across, slope * (across - rejected.square().sum(-1)))


def probability_gradients(
    chosen: Tensor, rejected: Tensor, reference_chosen: Tensor, reference_rejected: Tensor, beta: float
) -> tuple[Tensor, Tensor]:
    """(∂ℓ/∂π⁺, ∂ℓ/∂π⁻) of DPO's loss in the *probabilities* of both responses, from their log-probabilities [P] (Yan et
    al. 2024, 2406.07327, section 3): −βσ(−βh)/π⁺ and βσ(−βh)/π⁻, whose ratio is −π⁺/π⁻.

    As π⁻ → 0 the first goes to 0 and, for β < 1, the second to infinity. A softmax tempers this by π⁻(1 − π⁻), so look
    at gradients of parameters too.
    """
    margin = (chosen - reference_chosen) - (rejected - reference_rejected)
    push = torch.nn.functional.logsigmoid(-beta * margin)
    return -beta * (push - chosen).exp(), beta * (push - rejected).exp()
