"""The world of text: any causal LM of transformers, with or without a peft adapter and a tokenizer."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from guerdon.batch import Samples, Seed, Steps, TokenRows
from guerdon.errors import GuerdonError, NeedsError
from guerdon.worlds.interface import Hook, Sampling, Start
from guerdon.worlds.keyed import mix, start_keys
from guerdon.worlds.snapshots import Actors, only
from guerdon.worlds.text.encoding import encode, encode_prompt, tokenizer_key
from guerdon.worlds.text.generate import Plan, generate
from guerdon.worlds.text.heads import Head, find_head, unwrapped
from guerdon.worlds.text.lanes import LANES
from guerdon.worlds.text.precision import Precision, checked_compute, computing
from guerdon.worlds.text.prepared import prepared
from guerdon.worlds.text.remembered import Remembered, constant
from guerdon.worlds.text.rescore import LAYOUTS, rescore
from guerdon.worlds.text.tokens import pad_rows, token_rows


class TextWorld:
    """Samples and re-scores causal LMs that share a tokenizer.

    model: gives device, context length and, unless ``eos`` names them, the ids that end a response (the union of what
    generation config and tokenizer say). tokenizer: None for worlds of plain ids. context: most tokens of a row, from
    the model's configuration by default. max_tokens: most tokens, padding included, of one forward pass; layout: how
    rows lie in it (``rescore.LAYOUTS``); both change memory and speed, and results by rounding alone. value_heads:
    channel -> module [*,D] -> [*,1] on the policy's last states, for 'value:<channel>'. rendering: how texts and
    messages become ids (``encode_prompt``): 'auto' is the tokenizer's chat template, and without one texts as they
    stand and messages as a dialogue. cache: a folder that keeps the log-probs of snapshots that never change
    (``Remembered``), so that a row already read by the same weights is read from disk, also by a later run. compute:
    torch.bfloat16 for the backbone's matrix products in sampling and re-scoring, while weights, sums along the layers
    and log-probs of re-scoring stay float32. logits: torch.bfloat16 for the product that makes the logits of
    log-probs, entropy and collision too, whose states, weights and results are rounded to it; sums over the vocabulary
    and 'kl:<name>' stay float32. lanes: most packs that a CPU reads at once, each on its share of the threads.
    """

    spares = True
    """``rescore`` takes ``still``."""

    def __init__(
        self,
        model: nn.Module,
        tokenizer: Any = None,
        *,
        eos: int | Sequence[int] | None = None,
        context: int | None = None,
        max_tokens: int = 16384,
        value_heads: Mapping[str, nn.Module] | None = None,
        rendering: str = "auto",
        layout: str = "shared",
        compute: torch.dtype | None = None,
        logits: torch.dtype | None = None,
        cache: str | Path | None = None,
        lanes: int = LANES,
    ) -> None:
        if layout not in LAYOUTS:
            raise GuerdonError(f"TextWorld.layout must be one of {', '.join(LAYOUTS)}, but {layout!r} came.")
        if not 1 <= lanes <= LANES:
            raise GuerdonError(f"TextWorld.lanes must be from 1 to {LANES}, but {lanes!r} came.")
        self.model = model
        self.tokenizer = tokenizer
        self.eos = _eos(model, tokenizer) if eos is None else [eos] if isinstance(eos, int) else list(eos)
        config = unwrapped(model).config
        text = config.get_text_config() if hasattr(config, "get_text_config") else config
        self.context: int | None = context or getattr(text, "max_position_embeddings", None)
        self.max_tokens = max_tokens
        self.layout, self.lanes = layout, lanes
        self.compute, self.logits = checked_compute(compute), checked_compute(logits, "logits")
        self.cache = None if cache is None else Remembered(cache)
        self.rendering = rendering
        self.value_heads = dict(value_heads or {})
        self._heads: WeakKeyDictionary[nn.Module, Head] = WeakKeyDictionary()

    @property
    def device(self) -> torch.device:
        """Where the model's parameters are."""
        return next(self.model.parameters()).device

    def sample(
        self,
        snapshots: Actors,
        starts: Sequence[Any],
        per_start: int = 1,
        sampling: Sampling = Sampling(),  # noqa: B008 - frozen
        seed: Seed = Seed(0),  # noqa: B008 - frozen
        hooks: Sequence[Hook] = (),
    ) -> Samples:
        """Responses to prompts: texts, message lists, token ids, or ``Start`` around one of them.

        Row i·per_start + j is the j-th response to starts[i]. Its payload is TokenRows (prompts left-padded) with the
        log-probabilities drawn from; ``made_by`` tells the snapshot's version and the tokenizer's key; ``terminated``
        means that it ended with an end-of-sequence token (kept in the response), ``truncated`` that the limit cut it.
        A token depends on (seed, start, j, step) alone.

        Raises GuerdonError before anything is generated where a prompt with ``sampling.limit`` does not fit the
        context.
        """
        actor = only(snapshots)
        if per_start < 1:
            raise GuerdonError(f"TextWorld.sample needs at least 1 row a start, but per_start is {per_start}.")
        plain = [s.prompt if isinstance(s, Start) else s for s in starts]
        prompts = [encode_prompt(self.tokenizer, p, self.rendering, self.eos) for p in plain]
        limit = self._limit(prompts, sampling)
        start = torch.arange(len(prompts), device=self.device).repeat_interleave(per_start)
        own = [
            s.key if isinstance(s, Start) and s.key is not None else " ".join(map(str, ids))
            for s, ids in zip(starts, prompts, strict=True)
        ]
        within = torch.arange(per_start, device=self.device).repeat(len(prompts))
        keys = mix(start_keys(own, seed).to(self.device)[start], within)
        eos = torch.tensor(self.eos, dtype=torch.int64, device=self.device)
        parts: list[tuple[TokenRows, Tensor]] = []
        with actor.using(sampling.snapshot) as module, computing(self.device, self.compute):
            head = self._head(module)
            for at in _batches([len(p) + limit for p in prompts for _ in range(per_start)], self.max_tokens):
                used, inverse = torch.unique(start[at], return_inverse=True)
                chosen = [prompts[i] for i in used.tolist()]
                plan = Plan(chosen, inverse, keys[at], torch.arange(at.start, at.stop, device=self.device), limit, eos)
                parts.append(generate(module, head, plan, sampling, hooks))
        payload, terminated = (
            _joined([p for p, _ in parts], sampling),
            torch.cat([t for _, t in parts] or [start.bool()]),
        )
        return Samples(
            payload,
            [_plain(plain[i]) for i in start.tolist()],
            self.decode(payload),
            terminated=terminated,
            truncated=~terminated,
            made_by={"sampler": actor.version(sampling.snapshot), **self._spoken},
        )

    def recorded(
        self,
        prompts: Sequence[Any],
        responses: Sequence[Any],
        terminated: Sequence[bool] | None = None,
        temperature: float = 1.0,
    ) -> Samples:
        """Samples of responses that somebody else gave (preference pairs, demonstrations): a response a prompt, as
        text (its end-of-sequence is added) or ids (used untouched). Prompts as in ``sample``. terminated: all True by
        default.

        Raises GuerdonError naming the row and its lengths where one is longer than the context.
        """
        known = prepared(self.tokenizer, prompts, responses, self.rendering)
        encoded = [
            encode(known, p, r, rendering=self.rendering, eos=self.eos) for p, r in zip(prompts, responses, strict=True)
        ]
        for i, row in enumerate(encoded):
            if self.context is not None and len(row) > self.context:
                raise GuerdonError(
                    f"Row {i} has {len(row.prompt)} prompt and {len(row.response)} response tokens, but the context is "
                    f"{self.context}; shorten or drop it."
                )
        rows = replace(pad_rows(encoded, side="left", device=self.device), temperature=temperature)
        over = torch.tensor([True] * len(encoded) if terminated is None else list(terminated), device=self.device)
        return Samples(
            rows,
            [_plain(p) for p in prompts],
            self.decode(rows),
            terminated=over,
            truncated=~over,
            made_by=self._spoken,
        )

    def rescore(
        self,
        snapshots: Actors,
        samples: Samples,
        names: Sequence[str] = ("policy",),
        stats: Sequence[str] = (),
        probe: Any = None,
        still: Tensor | None = None,
    ) -> Steps:
        """log-probabilities [N,L] of the tokens taken under every named snapshot, at the payload's temperature;
        positions are those of the payload, mask is its ``response``, values outside it are 0.

        The full softmax is scored (top-p and hooks are no part of the policy). 'sampler' is what was recorded while
        sampling, unless a snapshot has that name. stats, all of the policy: 'entropy', 'collision', 'kl:<name>'
        (policy to <name>, full vocabulary), 'value:<channel>', 'bootstrap:<channel>'. Gradients reach 'policy' and
        the stats if it is among the names; of rows that are ``still`` (bool [N]) they need not, which spares them the
        backward pass. Raises NeedsError on an unknown name or statistic, GuerdonError on rows longer than the context.
        """
        actor = only(snapshots)
        rows = samples.payload
        if not isinstance(rows, TokenRows):
            raise GuerdonError(f"A text world re-scores token rows, but the payload is a {type(rows).__name__}.")
        longest = int(rows.attention.sum(1).max()) if len(rows) else 0
        if self.context is not None and longest > self.context:
            raise GuerdonError(f"A row of {longest} tokens is longer than the model's context of {self.context}.")
        if "sampler" in names and "sampler" not in actor and rows.logp is None:
            raise NeedsError("These samples carry no recorded log-probabilities, so 'sampler' cannot be re-scored.")
        with actor.using("policy") as module:
            head = self._head(module)
        against = {s.removeprefix("kl:") for s in stats}
        kept = [n for n in names if self.cache is not None and constant(actor, n) and n not in against]

        precision = Precision(self.compute, self.logits)

        def computed(of: Sequence[str], some: TokenRows, wanted: Sequence[str] = ()) -> Steps:
            return rescore(
                actor,
                some,
                head,
                of,
                wanted,
                self.value_heads,
                self.max_tokens,
                samples.terminated,
                self.layout,
                precision,
                still,
                self.lanes,
            )

        if self.cache is None or not kept:
            return computed(names, rows, stats)
        with torch.no_grad():
            held = self.cache.logprobs(actor, rows, kept, lambda n, some: computed((n,), some).logp[n], precision.key)
        steps = computed([n for n in names if n not in kept], rows, stats)
        return replace(steps, logp={n: held[n] if n in held else steps.logp[n] for n in names})

    def decode(self, rows: TokenRows) -> list[str] | None:
        """Responses as text without special tokens, or None without a tokenizer. For readers; never turned back into
        ids."""
        if self.tokenizer is None:
            return None
        ids = [row[keep].tolist() for row, keep in zip(rows.ids, rows.response, strict=True)]
        return list(self.tokenizer.batch_decode(ids, skip_special_tokens=True)) if ids else []

    @cached_property
    def _spoken(self) -> dict[str, str]:
        """What tells a reward whose token ids these are."""
        return {} if self.tokenizer is None else {"tokenizer": tokenizer_key(self.tokenizer)}

    def _limit(self, prompts: Sequence[Sequence[int]], sampling: Sampling) -> int:
        longest = max((len(p) for p in prompts), default=0)
        if self.context is None:
            if sampling.limit is None:
                raise GuerdonError("The model does not say how long its context is, so Sampling.limit must be given.")
            return sampling.limit
        limit = self.context - longest if sampling.limit is None else sampling.limit
        if limit < 1 or longest + limit > self.context:
            raise GuerdonError(
                f"The longest prompt has {longest} tokens and responses may have {max(limit, 1)}, but the "
                f"context is {self.context}; shorten the prompt or lower Sampling.limit."
            )
        return limit

    def _head(self, module: nn.Module) -> Head:
        if module not in self._heads:
            self._heads[module] = find_head(module)
        return self._heads[module]


def _eos(model: nn.Module, tokenizer: Any) -> list[int]:
    """The ids that end a response, the generation config's first."""
    inner = unwrapped(model)
    found: list[int] = []
    for source in (getattr(inner, "generation_config", None), inner.config, tokenizer):
        ids = getattr(source, "eos_token_id", None)
        found += [] if ids is None else [ids] if isinstance(ids, int) else list(ids)
    return list(dict.fromkeys(found))


def _plain(prompt: Any) -> Any:
    return prompt.tolist() if isinstance(prompt, Tensor) else prompt


def _batches(width: Sequence[int], max_tokens: int) -> Iterator[slice]:
    """Consecutive rows whose padded size stays within ``max_tokens``, at least one row each."""
    begin, widest = 0, 0
    for end, w in enumerate(width):
        if end > begin and max(widest, w) * (end + 1 - begin) > max_tokens:
            yield slice(begin, end)
            begin, widest = end, 0
        widest = max(widest, w)
    if begin < len(width):
        yield slice(begin, len(width))


def _joined(parts: Sequence[TokenRows], sampling: Sampling) -> TokenRows:
    """One payload of several: prompts stay flush right, responses flush left, padding around them."""
    if not parts:
        return replace(token_rows([], []), temperature=sampling.temperature)
    if len(parts) == 1:
        return parts[0]
    before = [int((~p.response).all(0).sum()) for p in parts]
    after = [p.ids.shape[1] - b for p, b in zip(parts, before, strict=True)]

    def field(name: str) -> Tensor:
        return torch.cat(
            [
                nn.functional.pad(getattr(p, name), (max(before) - b, max(after) - a))
                for p, b, a in zip(parts, before, after, strict=True)
            ]
        )

    return TokenRows(field("ids"), field("attention"), field("response"), field("logp"), sampling.temperature)
