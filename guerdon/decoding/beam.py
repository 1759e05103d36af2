"""Beam search over whole responses by the sum of step scores, without any division by length.

In the token MDP the likelihood of an optimal policy is a value: Σ_{t≤k} β log π*/π_ref = Σ_{t≤k} r + V*(s_k) − V*(s_0),
so a search by ``relative`` scores ranks prefixes of one prompt by reward so far plus value to come, and a search by
log π by that plus the prior Σ β log π_ref (Rafailov et al. 2024, 2404.12358, sec. 4.3). Dividing by length breaks this.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from guerdon.errors import GuerdonError
from guerdon.worlds.snapshots import Actors, only

StepScores = Callable[[Tensor], Tensor]
"""(prefixes int64 [n,L] of one length) -> what each next step adds [n,V]; −∞ where it cannot be taken."""


@dataclass(frozen=True)
class Beam:
    """One response. ids: its steps without the prompt, the end included. score: sum of its steps' scores. ended: False
    where the limit cut it."""

    ids: tuple[int, ...]
    score: float
    ended: bool


def beam_search(
    scores: StepScores, prompt: Sequence[int], width: int, limit: int, eos: Sequence[int]
) -> tuple[Beam, ...]:
    """The best responses found, at most ``width``, best first; of equal scores the one found earlier.

    At every step the ``width`` best are kept among those that have ended and all continuations of those that have not,
    until all have ended or have ``limit`` steps. width 1 is greedy; a width of at least the number of prefixes is
    exact. eos: the ids that end a response. Raises GuerdonError for a width, limit or prompt below 1.
    """
    if width < 1 or limit < 1 or not len(prompt):
        raise GuerdonError(
            f"beam_search needs a width, a limit and a prompt of at least 1, but {width}, {limit} and {len(prompt)} "
            "came."
        )
    ends = frozenset(int(i) for i in eos)
    kept = [Beam((), 0.0, False)]
    for _ in range(limit):
        live = [b for b in kept if not b.ended]
        if not live:
            break
        step = scores(torch.tensor([[*prompt, *b.ids] for b in live], dtype=torch.int64)).double().cpu()
        total = torch.tensor([b.score for b in live], dtype=torch.float64)[:, None] + step
        found = [b for b in kept if b.ended]
        for at in torch.argsort(total.flatten(), descending=True, stable=True)[:width].tolist():
            row, token = divmod(at, total.shape[1])
            if total[row, token] > -torch.inf:
                found.append(Beam((*live[row].ids, token), float(total[row, token]), token in ends))
        kept = sorted(found, key=lambda b: -b.score)[:width]
    return tuple(kept)


def next_logprobs(policy: Actors, name: str = "policy") -> StepScores:
    """log π(·|prefix) [n,V] of a causal LM's snapshot, in float32 without gradient. The whole prefix is run anew for
    every step: for short responses."""
    actor = only(policy)

    @torch.no_grad()
    def call(prefixes: Tensor) -> Tensor:
        with actor.using(name) as module:
            ids = prefixes.to(next(module.parameters()).device)
            logits: Tensor = module(input_ids=ids).logits[:, -1]
            return logits.float().log_softmax(-1)

    return call


def relative(scores: StepScores, reference: StepScores, beta: float = 1.0) -> StepScores:
    """β (scores − reference): with log π* and log π_ref, what a step adds to reward so far plus value to come. A step
    of score −∞ stays impossible."""

    def call(prefixes: Tensor) -> Tensor:
        a, b = scores(prefixes), reference(prefixes)
        return torch.where(a > -torch.inf, beta * (a - b), -torch.inf)

    return call
