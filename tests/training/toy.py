"""A finite world small enough to check by hand: P prompts, R responses of `steps` symbols each, a table of logits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from guerdon.batch import Channel, Samples, Scores, Seed, Status, Steps
from guerdon.errors import NeedsError
from guerdon.rewards.interface import Context, Reward, State
from guerdon.worlds.interface import Hook, Sampling
from guerdon.worlds.snapshots import LIVE, Snapshots


class Table(nn.Module):
    """Logits [P,T,V]: the symbol at step t depends on the prompt and t alone. A buffer counts nothing, but must
    survive."""

    def __init__(self, prompts: int = 4, steps: int = 3, symbols: int = 5) -> None:
        super().__init__()
        g = torch.Generator().manual_seed(7)
        self.logits = nn.Parameter(0.3 * torch.randn(prompts, steps, symbols, generator=g))
        self.register_buffer("scale", torch.ones(()))

    def forward(self, prompt: Tensor) -> Tensor:
        return torch.log_softmax(self.logits[prompt] * self.scale, -1)


@dataclass(frozen=True)
class Symbols:
    """symbols int64 [N,T]; length int64 [N]: steps beyond it are padding."""

    symbols: Tensor
    length: Tensor

    def __len__(self) -> int:
        return len(self.symbols)

    def take(self, rows: Tensor) -> Symbols:
        return Symbols(self.symbols[rows], self.length[rows])

    @property
    def mask(self) -> Tensor:
        return torch.arange(self.symbols.shape[1]) < self.length[:, None]


class ToyWorld:
    """Rows end after 1 + (prompt mod T) steps, so that lengths differ. ``calls`` counts forward passes by name."""

    def __init__(self, ragged: bool = True) -> None:
        self.ragged = ragged
        self.calls: list[str] = []

    def sample(
        self,
        snapshots: Snapshots,
        starts: Sequence[Any],
        per_start: int,
        sampling: Sampling,
        seed: Seed,
        hooks: Sequence[Hook] = (),
    ) -> Samples:
        prompt = torch.tensor([int(s) for s in starts]).repeat_interleave(per_start)
        with torch.no_grad(), snapshots.using(sampling.snapshot) as module:
            logp = module(prompt)
        noise = torch.rand(logp.shape, generator=seed.torch()).log().neg().log()
        drawn = (logp if sampling.greedy else logp - noise).argmax(-1)
        return self.recorded(snapshots, prompt.tolist(), drawn)

    def recorded(self, snapshots: Snapshots, prompts: Sequence[int], symbols: Tensor) -> Samples:
        steps = symbols.shape[1]
        length = torch.tensor([1 + p % steps if self.ragged else steps for p in prompts])
        return Samples(Symbols(symbols, length), prompts, made_by=snapshots.versions())

    def rescore(
        self,
        snapshots: Snapshots,
        samples: Samples,
        names: Sequence[str],
        stats: Sequence[str] = (),
        probe: Any = None,
    ) -> Steps:
        prompt, payload = torch.tensor([int(p) for p in samples.prompts]), samples.payload
        logp, found = {}, {}
        for name in names:
            self.calls.append(name)
            if name not in snapshots:
                raise NeedsError(f"no {name}")
            with torch.set_grad_enabled(torch.is_grad_enabled() and name == LIVE), snapshots.using(name) as module:
                every = module(prompt)
            taken = every.gather(-1, payload.symbols[..., None])[..., 0]
            # Rubbish under the mask, as a real world may leave there.
            logp[name] = torch.where(payload.mask, taken, torch.full_like(taken, float("nan")))
            if name == LIVE and "entropy" in stats:
                found["entropy"] = -(every.exp() * every).sum(-1)
        return Steps(payload.mask, logp, found)


class Count(Reward):
    """Number of symbols 0 among the live steps. ``bad`` gives rows that are FAILED or NOT_APPLICABLE by row number. Its
    state counts calls, and adds ``drift`` a call, so that a resumed run shows whether state survived."""

    name = "count"
    channels = ("count",)

    def __init__(self, bad: dict[int, Status] | None = None, drift: float = 0.0, fails_at: int | None = None) -> None:
        self.bad, self.drift, self.fails_at = bad or {}, drift, fails_at

    def init(self) -> State:
        return {"calls": torch.zeros(()), "deep": {"n": 0}}

    def score(self, samples: Samples, state: State, context: Context) -> tuple[Scores, State]:
        if self.fails_at is not None and context.round == self.fails_at:
            raise OSError("the judge hung up")
        payload = samples.payload
        value = ((payload.symbols == 0) & payload.mask).sum(-1).float() + self.drift * state["calls"]
        status = torch.zeros(len(value), dtype=torch.int8)
        for row, s in self.bad.items():
            status[row] = int(s)
        value = torch.where(status == 0, value, torch.full_like(value, float("nan")))
        state = {"calls": state["calls"] + 1, "deep": {"n": state["deep"]["n"] + 1}}
        return Scores({"count": Channel(value, status)}), state
