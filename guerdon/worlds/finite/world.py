"""The finite world: prompts × enumerated responses, one step a row, everything computable."""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from guerdon.batch import Samples, Seed, Steps, checks
from guerdon.divergences import reverse_kl
from guerdon.errors import GuerdonError, NeedsError
from guerdon.worlds.interface import Hook, Sampling, Start, View
from guerdon.worlds.keyed import draw, mix, start_keys, uniform, warped
from guerdon.worlds.snapshots import LIVE, Actors, Snapshots, only


@dataclass(frozen=True)
class FiniteRows:
    """Payload of the finite world: prompt and response, int64 [N] each; temperature they were drawn at; logp [N]
    under the very distribution drawn from, or None."""

    prompt: Tensor
    response: Tensor
    temperature: float = 1.0
    logp: Tensor | None = None

    def __post_init__(self) -> None:
        for name in ("prompt", "response"):
            checks.shape("FiniteRows", name, getattr(self, name), len(self.prompt))
            checks.dtype("FiniteRows", name, getattr(self, name), torch.int64)

    def __len__(self) -> int:
        return len(self.prompt)

    def take(self, rows: Tensor) -> "FiniteRows":
        """The rows with these numbers [M]."""
        logp = None if self.logp is None else self.logp[rows]
        return FiniteRows(self.prompt[rows], self.response[rows], self.temperature, logp)


def lookup(table: Tensor, samples: Samples) -> Tensor:
    """What a table [X,Y,…] (rewards, features, lengths) says of each row: [N,…]."""
    return table[samples.payload.prompt, samples.payload.response]


class FiniteWorld:
    """X prompts with Y responses each; a policy is a module whose forward is the table of logits [X,Y].

    features: [X,Y,F] for those who want them (linear policies and rewards), or None. value_heads: channel -> module
    from prompt numbers int64 [N] to [N] or [N,1].
    """

    def __init__(self, features: Tensor | None = None, value_heads: Mapping[str, nn.Module] | None = None) -> None:
        self.features = features
        self.value_heads = dict(value_heads or {})

    def sample(
        self,
        snapshots: Actors,
        starts: Sequence[Any],
        per_start: int = 1,
        sampling: Sampling = Sampling(),  # noqa: B008 - frozen
        seed: Seed = Seed(0),  # noqa: B008 - frozen
        hooks: Sequence[Hook] = (),
    ) -> Samples:
        """Responses to prompt numbers (or ``Start`` around one); row i·per_start + j is the j-th to starts[i]. Every
        row is terminated. Hooks change the logits [N,Y] and see 'prompt' [N]. Raises GuerdonError on an unknown
        prompt number."""
        actor = only(snapshots)
        plain = [int(s.prompt if isinstance(s, Start) else s) for s in starts]
        with torch.no_grad(), actor.using(sampling.snapshot) as module:
            table = module()
        self._check(table, plain)
        start = torch.arange(len(plain), device=table.device).repeat_interleave(per_start)
        within = torch.arange(per_start, device=table.device).repeat(len(plain))
        prompt = torch.tensor(plain, dtype=torch.int64, device=table.device)[start]
        logits = table[prompt]
        for hook in hooks:
            logits = hook(logits, View(torch.arange(len(prompt), device=table.device), 0, {"prompt": prompt}))
        logp = warped(logits, sampling.temperature, sampling.top_p)
        own = [s.key if isinstance(s, Start) and s.key is not None else p for s, p in zip(starts, plain, strict=True)]
        keys = mix(start_keys(own, seed).to(table.device)[start], within)
        response = logp.argmax(-1) if sampling.greedy else draw(logp, uniform(keys, 0))
        rows = FiniteRows(prompt, response, sampling.temperature, logp.gather(1, response[:, None]).squeeze(1))
        over = torch.ones(len(prompt), dtype=torch.bool, device=table.device)
        return Samples(
            rows,
            prompt.tolist(),
            response.tolist(),
            terminated=over,
            truncated=~over,
            made_by={"sampler": actor.version(sampling.snapshot)},
        )

    def rescore(
        self,
        snapshots: Actors,
        samples: Samples,
        names: Sequence[str] = (LIVE,),
        stats: Sequence[str] = (),
        probe: Any = None,
    ) -> Steps:
        """Steps [N,1] at the payload's temperature; 'sampler' is what was recorded unless a snapshot has that name.
        stats, of the policy: 'entropy', 'collision', 'kl:<name>', 'value:<channel>', 'bootstrap:<channel>' (0: every
        row is over)."""
        actor, rows = only(snapshots), samples.payload
        if not isinstance(rows, FiniteRows):
            raise GuerdonError(f"A finite world re-scores finite rows, but the payload is a {type(rows).__name__}.")
        column, logp = rows.response[:, None], {}
        for name in names:
            if name == "sampler" and name not in actor:
                if rows.logp is None:
                    raise NeedsError("These samples carry no recorded log-probabilities, so 'sampler' is unknown.")
                logp[name] = rows.logp[:, None]
            else:
                logp[name] = self.log_probabilities(actor, name, rows.temperature)[rows.prompt].gather(1, column)
        found = {}
        with nullcontext() if LIVE in names else torch.no_grad():
            for stat in stats:
                found[stat] = self._stat(stat, actor, rows)
        mask = torch.ones(len(rows), 1, dtype=torch.bool, device=rows.prompt.device)
        return Steps(mask, logp, found)

    def log_probabilities(self, snapshots: Snapshots, name: str = LIVE, temperature: float = 1.0) -> Tensor:
        """The whole law [X,Y] of one snapshot, with gradient for 'policy' alone: what ``exact`` and exact training
        read."""
        with nullcontext() if name == LIVE else torch.no_grad(), snapshots.using(name) as module:
            return torch.log_softmax(module() / temperature, -1)

    def _stat(self, stat: str, actor: Snapshots, rows: FiniteRows) -> Tensor:
        kind, _, name = stat.partition(":")
        if kind in ("value", "bootstrap"):
            if name not in self.value_heads:
                raise NeedsError(
                    f"The statistic {stat!r} needs a value head {name!r}; there are {sorted(self.value_heads)}."
                )
            value = self.value_heads[name](rows.prompt).reshape(-1, 1)
            return value if kind == "value" else torch.zeros_like(value)
        logp = self.log_probabilities(actor, LIVE, rows.temperature)
        if stat == "entropy":
            whole = -(logp.exp() * torch.where(logp > -torch.inf, logp, 0.0)).sum(-1)
        elif stat == "collision":
            whole = torch.logsumexp(2 * logp, -1)
        elif kind == "kl":
            whole = reverse_kl(logp, self.log_probabilities(actor, name, rows.temperature).detach())
        else:
            raise NeedsError(
                "A finite world knows 'entropy', 'collision', 'kl:<name>', 'value:<channel>' and "
                f"'bootstrap:<channel>', but {stat!r} was asked for."
            )
        return whole[rows.prompt][:, None]

    def _check(self, table: Tensor, prompts: Sequence[int]) -> None:
        if table.ndim != 2 or (self.features is not None and table.shape != self.features.shape[:2]):
            want = "[X,Y]" if self.features is None else str(list(self.features.shape[:2]))
            raise GuerdonError(f"A finite policy's forward must give logits {want}, but {list(table.shape)} came.")
        bad = [p for p in prompts if not 0 <= p < len(table)]
        if bad:
            raise GuerdonError(f"A start must be a prompt number in [0, {len(table)}), but {bad[0]} came.")
