"""Fitting preference models that can hold cycles on frozen vectors."""

from collections.abc import Sequence

import torch
from torch import Tensor

from guerdon.batch import Preference, Seed
from guerdon.errors import GuerdonError
from guerdon.preferences.general import general_preference
from guerdon.rewards.models import Embedder, GeneralPreferenceHead, GeneralPreferenceModel, Scaling, features
from guerdon.training.comparisons import TextPairs


def fit_general_head(
    head: GeneralPreferenceHead,
    winner: Tensor,
    loser: Tensor,
    *,
    prompt: Tensor | None = None,
    preferred: Tensor | None = None,
    weight: Tensor | None = None,
    temperature: float = 0.1,
    smoothing: float = 0.0,
    weight_decay: float = 0.01,
    steps: int = 200,
    lr: float = 1e-2,
) -> list[float]:
    """Fit a head on vectors winner, loser [P,D] (and prompts [P,E] where it has a gate); changes the head.

    ``steps`` full-batch AdamW steps on the weighted mean of −log σ(s/τ); gives the loss of every step. preferred,
    weight: [P] or None (1). Raises GuerdonError where there is no pair or the shapes differ.
    """
    if len(winner) == 0 or winner.shape != loser.shape:
        raise GuerdonError(
            f"Vectors of equal shape [P,D], P > 0, were expected; {list(winner.shape)}, {list(loser.shape)} came."
        )
    likely = torch.ones(len(winner)) if preferred is None else preferred
    weights = torch.ones(len(winner)) if weight is None else weight
    optimiser = torch.optim.AdamW(head.parameters(), lr=lr, weight_decay=weight_decay)
    history = []
    for _ in range(steps):
        optimiser.zero_grad()
        loss = general_preference(
            head(winner),
            head(loser),
            gate=head.gate(prompt),
            preferred=likely,
            weight=weights,
            smoothing=smoothing,
            temperature=temperature,
        )
        mean = loss.sum() / weights.sum()
        mean.backward()
        optimiser.step()
        history.append(float(mean.detach()))
    return history


def fit_general_preference(
    records: Sequence[Preference],
    embedder: Embedder,
    *,
    names: Sequence[str] = ("response",),
    blocks: int = 2,
    gated: bool = False,
    normalise: bool = False,
    temperature: float = 0.1,
    smoothing: float = 0.0,
    weight_decay: float = 0.01,
    steps: int = 200,
    lr: float = 1e-2,
    seed: Seed | None = None,
) -> tuple[GeneralPreferenceModel, list[float]]:
    """A skew-symmetric head on frozen embeddings of every comparison in ``records``, and the loss of every step.

    gated: blocks are weighted by the prompt. Features are centred and scaled by the training rows (see Scaling).
    """
    pairs = TextPairs.of(records)
    x_w = features(embedder, pairs.prompts, pairs.winners, names)
    x_l = features(embedder, pairs.prompts, pairs.losers, names)
    scaling = Scaling.fit(torch.cat([x_w, x_l]))
    prompt = features(embedder, pairs.prompts, pairs.winners, ("prompt",)) if gated else None
    head = GeneralPreferenceHead(
        x_w.shape[1],
        blocks,
        prompt=None if prompt is None else prompt.shape[1],
        normalise=normalise,
        seed=seed,
    )
    history = fit_general_head(
        head,
        scaling(x_w),
        scaling(x_l),
        prompt=prompt,
        preferred=pairs.preferred,
        weight=pairs.weight,
        temperature=temperature,
        smoothing=smoothing,
        weight_decay=weight_decay,
        steps=steps,
        lr=lr,
    )
    return GeneralPreferenceModel(embedder, head, names, scaling, temperature).eval(), history
