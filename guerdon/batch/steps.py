"""What policies say of the steps: log-probabilities, per-step statistics, spans; and prediction errors read the same
way."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from guerdon.batch import checks
from guerdon.errors import NeedsError


@dataclass(frozen=True)
class Steps:
    """Per-step evidence of N rows of at most T steps.

    mask: bool [N,T], True where the actor chose (never prompt, padding or tool output). Under it anything may stand,
    NaN too.
    logp: name -> [N,T] log-probability of the step taken: 'policy' (carries gradient), 'reference', 'old', 'sampler',
    'guide' …
    stats: name -> [N,T]: 'entropy', 'collision' (log Σp²), 'kl:<name>' (full vocabulary, policy to <name>),
    'value:<channel>',
        'bootstrap:<channel>' (value of the state *after* a step; 0 where terminated, not where truncated).
    spans: level -> int64 [N,T], ids local to the row, -1 outside: 'turn', 'thought', 'step', 'window'.

    Raises GuerdonError where a shape or dtype differs.
    """

    mask: Tensor
    logp: Mapping[str, Tensor] = field(default_factory=dict)
    stats: Mapping[str, Tensor] = field(default_factory=dict)
    spans: Mapping[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        checks.shape("Steps", "mask", self.mask, None, None)
        checks.dtype("Steps", "mask", self.mask, torch.bool)
        n, t = self.mask.shape
        checks.floats("Steps", "logp", self.logp, n, t)
        checks.floats("Steps", "stats", self.stats, n, t)
        for name, ids in self.spans.items():
            checks.shape("Steps", f"spans[{name!r}]", ids, n, t)
            checks.dtype("Steps", f"spans[{name!r}]", ids, torch.int64)

    def logprob(self, name: str) -> Tensor:
        """Log-probabilities [N,T] under ``name``, 0 outside the mask. Raises NeedsError where the name is absent."""
        if name not in self.logp:
            raise NeedsError(f"Steps.logp needs {name!r}, but holds {sorted(self.logp)}.")
        return torch.where(
            self.mask, self.logp[name], torch.zeros((), dtype=self.logp[name].dtype, device=self.mask.device)
        )

    def stat(self, name: str) -> Tensor:
        """The statistic [N,T] called ``name``, 0 outside the mask. Raises NeedsError where the name is absent."""
        if name not in self.stats:
            raise NeedsError(f"Steps.stats needs {name!r}, but holds {sorted(self.stats)}.")
        return torch.where(
            self.mask, self.stats[name], torch.zeros((), dtype=self.stats[name].dtype, device=self.mask.device)
        )

    def log_ratio(self, of: str = "policy", to: str = "reference") -> Tensor:
        """log π_of − log π_to *per step* [N,T], 0 outside the mask; totals and averages are named at the call."""
        return self.logprob(of) - self.logprob(to)

    def take(self, rows: Tensor) -> "Steps":
        """The rows with these numbers [M], in this order."""
        return Steps(
            self.mask[rows],
            {k: v[rows] for k, v in self.logp.items()},
            {k: v[rows] for k, v in self.stats.items()},
            {k: v[rows] for k, v in self.spans.items()},
        )


@dataclass(frozen=True)
class Predictions:
    """Forward-process evidence: named predictions of one target at one shared probe (t, ε).

    mask: bool [N,T] (T probes a row); target: [N,T,*D]; predicted: name -> [N,T,*D]; weight: [N,T] or None (ω(t), 1 if
    None). All names are evaluated at the same probe, which is what makes their errors comparable (DanceGRPO, CRD,
    Diffusion-DPO).
    """

    mask: Tensor
    target: Tensor
    predicted: Mapping[str, Tensor]
    weight: Tensor | None = None

    def __post_init__(self) -> None:
        checks.shape("Predictions", "mask", self.mask, None, None)
        checks.dtype("Predictions", "mask", self.mask, torch.bool)
        for name, x in {"target": self.target, **self.predicted}.items():
            checks.shape("Predictions", name, x, *self.mask.shape, *self.target.shape[2:])
            checks.dtype("Predictions", name, x, *checks.FLOATS)
        if self.weight is not None:
            checks.shape("Predictions", "weight", self.weight, *self.mask.shape)

    def errors(self, name: str) -> Tensor:
        """Squared error [N,T] of ``name``, *averaged over the data dimensions*, times the weight, 0 outside the
        mask."""
        if name not in self.predicted:
            raise NeedsError(f"Predictions needs {name!r}, but holds {sorted(self.predicted)}.")
        data = tuple(range(2, self.target.ndim))
        inside = self.mask.reshape(*self.mask.shape, *(1 for _ in data))
        zero = torch.zeros((), dtype=self.target.dtype, device=self.target.device)
        gap = torch.where(inside, self.predicted[name], zero) - torch.where(inside, self.target, zero)
        error = gap.square().mean(dim=data) if data else gap.square()
        return error if self.weight is None else torch.where(self.mask, error * self.weight, zero)

    def as_steps(self) -> Steps:
        """The same evidence read as steps: log-prob up to a scale and a constant is minus the error, so that
        ``log_ratio('policy', 'old')`` is the implicit reward −(ℓ_policy − ℓ_old) per probe and every step objective
        applies."""
        return Steps(self.mask, {name: -self.errors(name) for name in self.predicted})

    def take(self, rows: Tensor) -> "Predictions":
        """The rows with these numbers [M], in this order."""
        weight = None if self.weight is None else self.weight[rows]
        return Predictions(self.mask[rows], self.target[rows], {k: v[rows] for k, v in self.predicted.items()}, weight)
