"""One update: micro-batches and ranks add up to the batch's loss and gradient, whatever the split."""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from guerdon.batch import Batch, Samples, Seed
from guerdon.errors import GuerdonError
from guerdon.objectives import Objective
from guerdon.training import distributed, evidence
from guerdon.training.metrics import Sums, add, of_batch, renamed
from guerdon.training.optim import take_step
from guerdon.training.recipe import Recipe


def parts_of(recipe: Recipe, batch: Batch) -> Sequence[Batch]:
    """This rank's micro-batches."""
    width = batch.steps.mask.shape[1] if batch.steps is not None else 1
    parts = recipe.micro.parts(len(batch), width) * distributed.size()
    return [batch] if parts == 1 else distributed.share(batch.split(min(parts, len(batch))))


def gradient(recipe: Recipe, objective: Objective, batch: Batch, samples: Samples, seed: Seed) -> tuple[float, Sums]:
    """Add this rank's share of the objective's gradient on ``batch`` to the parameters' ``.grad``; the whole batch's
    (value, metric sums), the same on every rank.

    Sums that couple the batch come first, in a pass without gradient over all micro-batches; denominators need no pass,
    and every rank holds the whole batch, so that it knows them without asking the others. Raises GuerdonError, on
    every rank, where a loss is not finite on one.
    """
    micro = parts_of(recipe, batch)
    held: Batch | None = None
    denominators = objective.denominators([batch])
    stats: Mapping[str, Mapping[str, Tensor]] = {t.name: {} for t in objective.terms}
    if objective.coupled:

        def coupled() -> Mapping[str, Mapping[str, Tensor]]:
            nonlocal held
            if len(micro) == 1:  # its one forward pass serves the loss too
                held = evidence.live(recipe, objective, micro[0], samples, seed)
                return objective.couple([held])
            with torch.no_grad():
                return objective.couple([evidence.live(recipe, objective, m, samples, seed) for m in micro])

        stats = distributed.added(distributed.together(coupled))
    value, sums = 0.0, Sums()
    for share, more in distributed.together(
        lambda: _backward(recipe, objective, micro, held, samples, denominators, stats, seed)
    ):
        value += share
        add(sums, more)
    return value, sums


def _backward(
    recipe: Recipe,
    objective: Objective,
    micro: Sequence[Batch],
    held: Batch | None,
    samples: Samples,
    denominators: Mapping[str, Tensor],
    stats: Mapping[str, Mapping[str, Tensor]],
    seed: Seed,
) -> tuple[float, Sums]:
    """Forward and backward of this rank's micro-batches; its share of the value and of the metric sums. held: the only
    micro-batch, where its forward pass was made before."""
    value, sums = 0.0, Sums()
    for m in micro:
        whole = evidence.live(recipe, objective, m, samples, seed) if held is None else held
        loss = objective.loss(whole, denominators, stats)
        share = float(loss.value.detach())
        if not math.isfinite(share):
            parts = {name: float(x) for name, x in loss.parts.items()}
            raise GuerdonError(
                f"The loss is not finite ({parts}); lower the learning rate, or look for an infinite log-prob."
            )
        if loss.value.requires_grad:
            loss.value.backward()
        value += share
        add(sums, {k: (float(a), float(b)) for k, (a, b) in renamed(loss.metrics).items()})
        add(sums, {f"loss/{name}": (float(x), 0.0) for name, x in loss.parts.items()} if len(loss.parts) > 1 else {})
        add(sums, of_batch(whole))
    return value, sums


def combined(
    recipe: Recipe, objective: Objective, batch: Batch, samples: Samples, parameters: list[nn.Parameter], seed: Seed
) -> tuple[float, Sums]:
    """``gradient`` of every term by itself, then ``recipe.combine`` of the K flat gradients [K,D] (summed over ranks
    first).

    A term whose units have no weight here is not ok. The value is the plain sum of the terms' values.
    """
    assert recipe.combine is not None
    weight = objective.denominators([batch])
    value, sums, flat = 0.0, Sums(), []
    for term in objective.terms:
        for p in parameters:
            p.grad = None
        share, more = gradient(recipe, Objective((term,)), batch, samples, seed)
        distributed.sum_gradients(parameters)
        flat.append(
            torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).float().reshape(-1) for p in parameters])
        )
        value += share
        # What every pass sees alike (KL, entropy) is counted once.
        add(sums, {**{k: x for k, x in more.items() if k not in sums}, f"loss/{term.name}": (share, 0.0)})
    names = tuple(t.name for t in objective.terms)
    stack = torch.stack(flat)
    ok = torch.stack([weight[n] > 0 for n in names]).to(stack.device).unsqueeze(-1).expand(stack.shape)
    whole, _ = recipe.combine(names, stack, ok, recipe.combine.init())
    for p, piece in zip(parameters, whole.split([p.numel() for p in parameters]), strict=True):
        p.grad = piece.reshape(p.shape).to(p.dtype)
    return value, sums


def update(
    recipe: Recipe,
    objective: Objective,
    batch: Batch,
    samples: Samples,
    optimiser: torch.optim.Optimizer,
    parameters: list[nn.Parameter],
    step: int,
    seed: Seed,
) -> Mapping[str, float] | None:
    """One optimiser step on ``batch``; its metrics, or None where no unit has weight (then nothing changes, moments
    neither)."""
    if len(batch) == 0 or not any(float(x) > 0 for x in objective.denominators([batch]).values()):
        return None
    optimiser.zero_grad(set_to_none=True)
    if recipe.combine is None:
        value, sums = gradient(recipe, objective, batch, samples, seed)
        distributed.sum_gradients(parameters)
    else:
        value, sums = combined(recipe, objective, batch, samples, parameters, seed)
    rate = recipe.optim.rate(step, recipe.updates)
    norm = take_step(optimiser, parameters, rate, recipe.optim.clip)
    add(sums, {"loss": (value, 0.0)})
    return {**{k: a / b if b else a for k, (a, b) in sums.items()}, "grad_norm": norm, "learning_rate": rate}
