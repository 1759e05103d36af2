"""Terms and objectives: losses whose value and gradient cannot depend on how a batch is split.

A term gives one loss per unit (pair, row, span or step) and one weight per unit. The weights depend on masks, indices
and columns
alone, so their global sum is known before any forward pass; the loss of a micro-batch is Σ weight·loss over that
*global* sum, and
micro-batches and ranks simply add up. No term averages anything itself.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from guerdon.batch import Batch
from guerdon.errors import GuerdonError

Stats = Mapping[str, Tensor]
Metrics = Mapping[str, tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Term:
    """One summand of an objective.

    unit: (batch, stats) -> loss [U]. weight: batch -> [U] ≥ 0, from masks, indices and columns only. couple: batch ->
    detached sums that the units need from the *whole* batch (KTO's z₀, BCO's δ); they are added over micro-batches and
    ranks before any loss, and reach ``unit`` as stats. metrics: (batch, stats) -> name -> (sum, count), detached.
    needs: paths into the batch (``Batch.read``), from which a loop derives its forward passes and refuses early.
    """

    name: str
    needs: tuple[str, ...]
    unit: Callable[[Batch, Stats], Tensor]
    weight: Callable[[Batch], Tensor]
    couple: Callable[[Batch], Stats] | None = None
    metrics: Callable[[Batch, Stats], Metrics] | None = None
    coefficient: float = 1.0

    def summed(self, batch: Batch, stats: Stats) -> Tensor:
        """Σ weight·loss over the units of this batch, without coefficient and denominator; weightless units are never
        touched."""
        loss, weight = self.unit(batch, stats), self.weight(batch)
        if loss.shape != weight.shape:
            raise GuerdonError(
                f"Term {self.name!r}: unit and weight must have one shape, but {list(loss.shape)} and "
                f"{list(weight.shape)} came."
            )
        live = weight > 0
        zero = torch.zeros((), dtype=loss.dtype, device=loss.device)
        return torch.where(live, torch.where(live, loss, zero) * weight.to(loss.dtype), zero).sum()


@dataclass(frozen=True)
class Loss:
    """value: scalar with gradient. parts: term -> detached scalar, coefficient included. metrics: name -> (sum, count),
    detached."""

    value: Tensor
    parts: Mapping[str, Tensor]
    metrics: Metrics


@dataclass(frozen=True)
class Objective:
    """A tuple of terms. ``dpo(0.1) + 0.005 * sft()`` concatenates; each term keeps its own denominator."""

    terms: tuple[Term, ...] = field(default_factory=tuple)

    def __add__(self, other: "Objective") -> "Objective":
        if not isinstance(other, Objective):
            return NotImplemented
        return Objective(_unique((*self.terms, *other.terms)))

    def __mul__(self, factor: float) -> "Objective":
        return Objective(tuple(replace(t, coefficient=t.coefficient * factor) for t in self.terms))

    __rmul__ = __mul__

    @property
    def needs(self) -> tuple[str, ...]:
        """All paths its terms read, each once, in order."""
        return tuple(dict.fromkeys(path for t in self.terms for path in t.needs))

    def logps(self) -> tuple[str, ...]:
        """Names of the log-probabilities a forward pass must give."""
        return tuple(p.removeprefix("steps.logp.") for p in self.needs if p.startswith("steps.logp."))

    def stats(self) -> tuple[str, ...]:
        """Names of the per-step statistics a forward pass must give."""
        return tuple(p.removeprefix("steps.stats.") for p in self.needs if p.startswith("steps.stats."))

    @property
    def coupled(self) -> bool:
        """Whether any term needs sums over the whole batch before its loss."""
        return any(t.couple is not None for t in self.terms)

    def check(self, batch: Batch) -> None:
        """Raise NeedsError for the first path the batch does not have."""
        for path in self.needs:
            batch.read(path)

    def couple(self, batches: Sequence[Batch]) -> dict[str, Stats]:
        """Coupled sums per term, added over micro-batches, detached."""
        out: dict[str, Stats] = {}
        for term in self.terms:
            sums: dict[str, Tensor] = {}
            if term.couple is not None:
                with torch.no_grad():
                    for batch in batches:
                        for key, x in term.couple(batch).items():
                            sums[key] = sums[key] + x if key in sums else x
            out[term.name] = sums
        return out

    def denominators(self, batches: Sequence[Batch]) -> dict[str, Tensor]:
        """Global weight sum per term; needs no forward pass."""
        return {t.name: torch.stack([t.weight(b).sum() for b in batches]).sum() for t in self.terms}

    def loss(
        self,
        batch: Batch,
        denominators: Mapping[str, Tensor] | None = None,
        stats: Mapping[str, Stats] | None = None,
    ) -> Loss:
        """This batch's share of the loss; the shares of all micro-batches add up to the whole.

        ``denominators`` and ``stats`` are the global ones; left out, the batch is taken to be whole. A term whose
        global weight is 0 contributes exactly 0 (no pair, no live step), never NaN.
        """
        self.check(batch)
        denominators = self.denominators([batch]) if denominators is None else denominators
        stats = self.couple([batch]) if stats is None else stats
        values: list[Tensor] = []
        metrics: dict[str, tuple[Tensor, Tensor]] = {}
        for term in self.terms:
            whole = denominators[term.name]
            summed = term.summed(batch, stats[term.name])
            values.append(
                term.coefficient * summed / torch.where(whole > 0, whole, torch.ones_like(whole)).to(summed.dtype)
            )
            if term.metrics is not None:
                with torch.no_grad():
                    for key, (total, count) in term.metrics(batch, stats[term.name]).items():
                        metrics[f"{term.name}/{key}"] = (total.detach(), count.detach())
        parts = {t.name: v.detach() for t, v in zip(self.terms, values, strict=True)}
        return Loss(torch.stack(values).sum(), parts, metrics)


def _unique(terms: tuple[Term, ...]) -> tuple[Term, ...]:
    """Number the names that stand twice: sft, sft.2, …"""
    seen: dict[str, int] = {}
    out = []
    for term in terms:
        base = term.name.split(".")[0]
        seen[base] = seen.get(base, 0) + 1
        out.append(term if seen[base] == 1 else replace(term, name=f"{base}.{seen[base]}"))
    return tuple(out)
