"""One block of the work: [chunk tokens, chunk vocabulary] logits, running sums over blocks, the gradient of a block."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from guerdon.logprobs.checks import Head, Want


@dataclass(frozen=True)
class Plan:
    """Everything about the computation that is not a tensor with a gradient."""

    want: tuple[Want, ...]
    temperature: float
    softcap: float | None
    logit_scale: float
    chunk_tokens: int
    chunk_vocab: int
    products: torch.dtype | None = None  # type of the backward pass's products, None for the wide one
    logits: torch.dtype | None = None  # type of the product that makes z, None for the wide one

    @property
    def before(self) -> float:
        """Factor on hidden @ weight.T + bias; without a softcap it holds the temperature too."""
        return self.logit_scale / (self.temperature if self.softcap is None else self.softcap)

    @property
    def after(self) -> float:
        """Factor on tanh(...), 1 without a softcap."""
        return 1.0 if self.softcap is None else self.softcap / self.temperature


def chunks(size: int, chunk: int) -> Iterator[slice]:
    """Consecutive slices of at most `chunk` that cover 0 to size."""
    return (slice(start, min(start + chunk, size)) for start in range(0, size, chunk))


def block_logits(hidden: Tensor, weight: Tensor, bias: Tensor | None, plan: Plan, out: Tensor | None = None) -> Tensor:
    """One block of z: hidden [m, D] already wide, weight [v, D], bias [v] -> [m, v] as wide as hidden, written to
    ``out`` if given."""
    weight = weight.to(plan.logits or hidden.dtype)
    if plan.logits is not None:
        product = torch.mm(hidden.to(plan.logits), weight.T)
        z = product.to(hidden.dtype) if out is None else out.copy_(product)
        z = z if bias is None else z.add_(bias)
    elif bias is None:
        z = torch.mm(hidden, weight.T, out=out)
    else:
        z = torch.addmm(bias.to(hidden.dtype), hidden, weight.T, beta=plan.before, alpha=plan.before, out=out)
    if plan.before != 1.0 and (bias is None or plan.logits is not None):
        z *= plan.before
    return z if plan.softcap is None else z.tanh_().mul_(plan.after)


def narrowed(weight: Tensor, plan: Plan) -> Tensor:
    """A weight that ``block_logits`` need not narrow block by block."""
    return weight if plan.logits is None else weight.to(plan.logits)


class Online:
    """Running sums over vocabulary blocks, relative to the running maximum of z (and of z2, the second's logits)."""

    def __init__(self, like: Tensor, plan: Plan) -> None:
        self.want = plan.want
        zero = like.new_zeros(like.shape[0])
        # Not -inf: a block in which every word is excluded would give inf - inf.
        lowest = torch.full_like(zero, torch.finfo(like.dtype).min)
        self.peak, self.mass = lowest, zero  # m = max z; sum exp(z - m)
        self.label = zero  # z of the label
        self.moment = zero  # sum exp(z - m) (z - m)
        self.square = zero  # sum exp(2 (z - m))
        self.peak2, self.mass2 = lowest, zero  # m2 = max z2; sum exp(z2 - m2)
        self.cross = zero  # sum exp(z - m) ((z - m) - (z2 - m2))

    def add(self, z: Tensor, z2: Tensor | None, labels: Tensor | None) -> None:
        """Take in one block z [m, v] and overwrite it."""
        if "logp" in self.want and labels is not None:
            found = z.gather(1, labels.clamp(min=0)[:, None]).squeeze(1)
            self.label = torch.where(labels >= 0, found, self.label)
        peak = torch.maximum(self.peak, z.amax(1))
        fall = torch.where(self.mass > 0, self.peak - peak, 0.0)
        decay = fall.exp()
        z = z.sub_(peak[:, None])
        weights = z.exp() if "entropy" in self.want or "kl" in self.want else z.exp_()
        if "kl" in self.want and z2 is not None:
            peak2 = torch.maximum(self.peak2, z2.amax(1))
            fall2 = torch.where(self.mass2 > 0, self.peak2 - peak2, 0.0)
            z2 = z2 - peak2[:, None]
            self.cross = decay * (self.cross + (fall - fall2) * self.mass) + _expect(weights, z - z2)
            self.mass2 = self.mass2 * fall2.exp() + z2.exp_().sum(1)
            self.peak2 = peak2
        if "entropy" in self.want:
            self.moment = decay * (self.moment + fall * self.mass) + _expect(weights, z)
        if "collision" in self.want:
            self.square = self.square * decay.square() + weights.square().sum(1)
        self.mass = self.mass * decay + weights.sum(1)
        self.peak = peak

    def finish(self) -> tuple[dict[Want, Tensor], Tensor, Tensor]:
        """(outputs by name, log-normaliser [m], the second's log-normaliser [m], which means nothing without one)."""
        log_mass, log_mass2 = self.mass.log(), self.mass2.log()
        out: dict[Want, Tensor] = {
            "logp": self.label - self.peak - log_mass,
            "entropy": log_mass - self.moment / self.mass,
            "collision": self.square.log() - 2 * log_mass,
            "kl": self.cross / self.mass - log_mass + log_mass2,
        }
        return {name: out[name] for name in self.want}, self.peak + log_mass, self.peak2 + log_mass2


def _expect(weights: Tensor, values: Tensor) -> Tensor:
    """sum weights * values over a block [m, v] -> [m]; a weight of 0 counts 0 even where the value is infinite."""
    return torch.where(weights > 0, values, 0.0).mul_(weights).sum(1)


def local_labels(labels: Tensor | None, tokens: slice, vocab: slice) -> Tensor | None:
    """Labels of a token chunk relative to a vocabulary chunk, -1 where they lie outside it."""
    if labels is None:
        return None
    inside = labels[tokens] - vocab.start
    return torch.where((inside >= 0) & (inside < vocab.stop - vocab.start), inside, -1)


def block_slope(
    logp: Tensor, logq: Tensor | None, labels: Tensor | None, flow: dict[Want, tuple[Tensor, Tensor]]
) -> Tensor:
    """Gradient with respect to z of one block [m, v]; overwrites ``logp`` where the log-probability alone is wanted.

    flow: output name -> (incoming gradient [m, 1], the output's value [m, 1]). With p = softmax(z):
    d log p_y = 1[y] - p; dH = -p (log p + H); d log sum p^2 = 2 (p^2 / sum p^2 - p); dKL = p (log p - log q - KL).
    """
    p = logp.exp_() if flow.keys() <= {"logp"} else logp.exp()
    inner = torch.zeros_like(logp[:, :1])  # the factor of p that does not depend on the word
    if "logp" in flow:
        inner = inner - flow["logp"][0]
    if "collision" in flow:
        inner = inner - 2 * flow["collision"][0]
    factor: Tensor | None = None
    if "entropy" in flow:
        grad, entropy = flow["entropy"]
        factor = logp * -grad
        inner = inner - grad * entropy
    if "kl" in flow and logq is not None:
        grad, kl = flow["kl"]
        gap = (logp - logq).mul_(grad)
        factor = gap if factor is None else factor.add_(gap)
        inner = inner - grad * kl
    if factor is None:
        slope = p.mul_(inner) if "collision" not in flow else p * inner
    else:
        slope = torch.where(p > 0, factor.add_(inner), 0.0).mul_(p)
    if "collision" in flow:
        grad, collision = flow["collision"]
        slope.add_((2 * logp - collision).exp_().mul_(2 * grad))
    if "logp" in flow and labels is not None:
        hit = torch.where(labels[:, None] >= 0, flow["logp"][0], 0.0)
        slope.scatter_add_(1, labels.clamp(min=0)[:, None], hit)
    return slope


def second_logits(rows2: Tensor | None, second: Head | None, words: slice, plan: Plan) -> Tensor | None:
    """The same block of the second distribution's z, None without one."""
    if second is None or rows2 is None:
        return None
    return block_logits(rows2, second[1][words], None if second[2] is None else second[2][words], plan)
