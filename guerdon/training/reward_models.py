"""Fitting reward models on comparisons: heads on frozen vectors, and scalar models on any backbone.

The loss of comparisons and its gradient are in ``guerdon.training.comparisons``.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from guerdon.batch import Preference, Seed
from guerdon.errors import GuerdonError
from guerdon.rewards.models import (
    Embedder,
    EmbeddingRewardModel,
    LinearHead,
    MLPHead,
    ScalarRewardModel,
    Scaling,
    features,
)
from guerdon.rewards.models.embeddings import default_budget
from guerdon.training.comparisons import TextPairs, accumulate, encoded, pair_loss, reader
from guerdon.training.resumable import Resumable
from guerdon.worlds.text.precision import checked_compute

Progress = Callable[[int, int, Mapping[str, float]], None]
History = list[dict[str, float]]


def member_weights(weight: Tensor, members: int, bootstrap: bool, seed: Seed) -> Tensor:
    """Pair weights [P,K]: with ``bootstrap`` each member sees its own resample (counts of a draw with replacement),
    else all pairs."""
    if not bootstrap:
        return weight.unsqueeze(1).expand(-1, members)
    p = len(weight)
    counts = [
        torch.bincount(torch.randint(p, (p,), generator=seed.child("bootstrap", k).torch()), minlength=p)
        for k in range(members)
    ]
    return torch.stack(counts, 1) * weight.unsqueeze(1)


def fit_head(
    head: LinearHead | MLPHead,
    winner: Tensor,
    loser: Tensor,
    *,
    preferred: Tensor | None = None,
    margin: Tensor | None = None,
    weight: Tensor | None = None,
    smoothing: float = 0.0,
    weight_decay: float = 0.1,
    steps: int = 200,
    lr: float = 1e-2,
    progress: Progress | None = None,
) -> History:
    """Fit a head on vectors winner, loser [P,D] (frozen); changes the head.

    Objective per member: mean Bradley–Terry loss + weight_decay/2 · ‖parameters‖². A LinearHead is convex and is solved
    by L-BFGS with a strong-Wolfe line search; an MLPHead takes ``steps`` full-batch AdamW steps (then weight_decay is
    AdamW's). weight: [P] or [P,K]. Raises GuerdonError where there is no pair.
    """
    if len(winner) == 0 or winner.shape != loser.shape:
        raise GuerdonError(
            f"Vectors of equal shape [P,D], P > 0, were expected; {list(winner.shape)}, {list(loser.shape)} came."
        )
    p = len(winner)
    preferred = torch.ones(p) if preferred is None else preferred
    margin = torch.zeros(p) if margin is None else margin
    weight = torch.ones(p) if weight is None else weight
    weights = weight.unsqueeze(1).expand(-1, head.members) if weight.ndim == 1 else weight
    history: History = []

    def loss_now() -> Tensor:
        return pair_loss(head(winner), head(loser), weights, preferred, margin, smoothing)

    def note(step: int, loss: Tensor) -> None:
        history.append({"step": float(step), "loss": loss.item() / head.members})
        if progress is not None:
            progress(step, steps, history[-1])

    if isinstance(head, LinearHead):
        solver = torch.optim.LBFGS(
            head.parameters(),
            max_iter=steps,
            tolerance_grad=1e-7,
            tolerance_change=1e-10,
            line_search_fn="strong_wolfe",
        )

        def closure() -> Tensor:
            solver.zero_grad()
            loss = loss_now() + 0.5 * weight_decay * head.weight.square().sum()
            loss.backward()
            return loss

        solver.step(closure)
        note(steps, loss_now().detach())
        return history
    optimiser = torch.optim.AdamW(head.parameters(), lr=lr, weight_decay=weight_decay)
    for step in range(1, steps + 1):
        optimiser.zero_grad()
        loss = loss_now()
        loss.backward()
        optimiser.step()
        note(step, loss.detach())
    return history


def fit_embedding_head(
    records: Sequence[Preference],
    embedder: Embedder,
    *,
    names: Sequence[str] = ("response",),
    members: int = 1,
    hidden: int | None = None,
    bootstrap: bool | None = None,
    weight_decay: float = 0.1,
    steps: int = 200,
    lr: float = 1e-2,
    smoothing: float = 0.0,
    seed: Seed | None = None,
    model: str | None = None,
    progress: Progress | None = None,
) -> tuple[EmbeddingRewardModel, History]:
    """A Bradley–Terry head on frozen embeddings of every comparison in ``records``.

    hidden: width of an MLPHead, None for a LinearHead. members: K heads; bootstrap None resamples pairs per member
    where K > 1 (a convex fit would otherwise give K equal members). Features are centred and
    scaled by the training rows (see Scaling).
    """
    seed = seed or Seed(0)
    pairs = TextPairs.of(records)
    x_w = features(embedder, pairs.prompts, pairs.winners, names)
    x_l = features(embedder, pairs.prompts, pairs.losers, names)
    scaling = Scaling.fit(torch.cat([x_w, x_l]))
    head: LinearHead | MLPHead
    head = LinearHead(x_w.shape[1], members) if hidden is None else MLPHead(x_w.shape[1], hidden, members, seed=seed)
    history = fit_head(
        head,
        scaling(x_w),
        scaling(x_l),
        preferred=pairs.preferred,
        margin=pairs.margin,
        weight=member_weights(pairs.weight, members, members > 1 if bootstrap is None else bootstrap, seed),
        smoothing=smoothing,
        weight_decay=weight_decay,
        steps=steps,
        lr=lr,
        progress=progress,
    )
    return EmbeddingRewardModel(embedder, head, names, scaling, model or embedder.name).eval(), history


def fit_scalar_model(
    records: Sequence[Preference],
    model: ScalarRewardModel,
    *,
    epochs: int = 2,
    lr: float = 1e-3,
    pairs_at_once: int = 32,
    tokens_at_once: int | None = None,
    compute: torch.dtype | None = None,
    warmup: int = 10,
    weight_decay: float = 0.01,
    max_norm: float = 1.0,
    smoothing: float = 0.0,
    centre: float = 0.0,
    bootstrap: bool = False,
    fused: bool = False,
    seed: Seed | None = None,
    progress: Progress | None = None,
    kept: Resumable | None = None,
) -> tuple[ScalarRewardModel, History]:
    """Fit backbone and heads by Bradley–Terry; changes and returns ``model``. Two epochs keep the scale calibrated
    (more overfit it).

    AdamW on batches of pairs_at_once, ``warmup`` steps up and then linearly to 0, gradient norm clipped at
    ``max_norm``. centre: weight of the mean of (z_w + z_l)², which keeps scores near zero. Order and dropout come from
    ``seed`` alone. tokens_at_once: how many tokens a forward pass takes where rows can be packed, which bounds the
    memory and changes only rounding; a model with dropout or another shape reads each batch whole and padded. compute:
    torch.bfloat16 for the backbone's matrix products, weights and sums staying float32 (``model.compute``). fused:
    torch's fused AdamW, which rounds otherwise. kept: where the fit keeps itself; what stands there is gone on with, to
    the very weights of a fit that was never stopped. Raises DataError naming the record whose response does not fit the
    context, GuerdonError where the loss is not finite.
    """
    seed = seed or Seed(0)
    pairs = TextPairs.of(records)
    rows = encoded(model, pairs)
    weight = member_weights(pairs.weight, model.members, bootstrap, seed)
    total = epochs * -(-len(pairs) // pairs_at_once)
    named = {k: p for k, p in model.named_parameters() if p.requires_grad}
    free = list(named.values())
    optimiser = torch.optim.AdamW(free, lr=lr, weight_decay=weight_decay, fused=fused or None)
    about = {"pairs": len(pairs), "steps": total, "lr": lr, "pairs_at_once": pairs_at_once}
    history: History = [] if kept is None else kept.restore(named, optimiser, about)
    read = reader(model, tokens_at_once or default_budget(model.device))
    model.compute = checked_compute(compute)
    model.train()
    with torch.random.fork_rng(devices=[]):
        for epoch in range(epochs):
            order = torch.randperm(len(pairs), generator=seed.child("order", epoch).torch())
            for step, batch in enumerate(order.split(pairs_at_once), start=epoch * (total // epochs)):
                if step < len(history):  # done before the fit was stopped
                    continue
                torch.manual_seed(seed.child("dropout", step).integer(31))
                for group in optimiser.param_groups:
                    group["lr"] = lr * min((step + 1) / max(1, warmup), 1.0) * (total - step) / total
                optimiser.zero_grad()
                found = accumulate(read, rows, pairs, weight, batch.tolist(), smoothing, centre)
                if not math.isfinite(found["whole"]):
                    raise GuerdonError(
                        f"The reward model's loss is not finite at step {step}; lower the learning rate {lr}."
                    )
                nn.utils.clip_grad_norm_(free, max_norm)
                optimiser.step()
                history.append({"step": float(step), "loss": found["loss"], "accuracy": found["accuracy"]})
                if progress is not None:
                    progress(step + 1, total, history[-1])
                if kept is not None:
                    kept.keep(named, optimiser, history, about)
    return model.eval(), history


def pair_scores(model: Any, records: Sequence[Preference]) -> tuple[Tensor, Tensor]:
    """Scores z_w, z_l [P,K] of every comparison by any TextScorer, without gradient."""
    pairs = TextPairs.of(records)
    both = model.score_texts([*pairs.prompts, *pairs.prompts], [*pairs.winners, *pairs.losers])
    return both[: len(pairs)], both[len(pairs) :]
