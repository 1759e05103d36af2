"""A reward relative to itself on anchors: the anchors are scored by the very reward they are compared with."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from guerdon.batch import Channel, Samples, Scores, Status, TokenRows
from guerdon.errors import GuerdonError, NeedsError
from guerdon.rewards.graph import OWN, Call, Evaluation, Node, as_node
from guerdon.rewards.interface import Context, Reward, State
from guerdon.shaping.anchored import par

NO_ANCHORS = "no valid anchor for this prompt"


def _key(prompt: Any) -> str | int:
    # The rule by which Samples groups prompts.
    return prompt if isinstance(prompt, str | int) else repr(prompt)


def match_anchors(prompts: Sequence[Any], anchors: Sequence[Any]) -> tuple[Tensor, Tensor]:
    """Which anchors belong to which row: (anchor numbers [N,M], bool [N,M]), M the longest list, at least 1.

    prompts: of the N rows. anchors: prompts of the A anchor rows. Equal prompts match; lists are ragged.
    """
    rows_of: dict[str | int, list[int]] = {}
    for i, prompt in enumerate(anchors):
        rows_of.setdefault(_key(prompt), []).append(i)
    lists = [rows_of.get(_key(p), []) for p in prompts]
    width = max([len(x) for x in lists] + [1])
    index = torch.tensor([x + [-1] * (width - len(x)) for x in lists], dtype=torch.int64).reshape(len(lists), width)
    return index.clamp(min=0), index >= 0


def _fingerprint(anchors: Samples) -> str:
    """Which anchors these are, so that scores kept in a state are never read for others."""
    digest = hashlib.sha256(repr([_key(p) for p in anchors.prompts]).encode())
    digest.update(repr(None if anchors.responses is None else list(anchors.responses)).encode())
    payload = anchors.payload
    digest.update(repr(payload.ids.tolist() if isinstance(payload, TokenRows) else payload).encode())
    return digest.hexdigest()


@dataclass(frozen=True, eq=False)
class Relative(Node):
    """fn(r, the anchors' r) for every channel of a reward; see ``relative``."""

    base: Node
    anchors: Samples | None
    fn: Callable[[Tensor, Tensor, Tensor], Tensor]

    def __post_init__(self) -> None:
        object.__setattr__(self, "base", as_node(self.base))

    @property
    def name(self) -> str:  # type: ignore[override]
        """The map and the reward."""
        return f"{getattr(self.fn, 'name', getattr(self.fn, '__name__', 'relative'))}({self.base.name})"

    @property
    def channels(self) -> tuple[str, ...]:  # type: ignore[override]
        """Its own name for one channel; the base's names for several."""
        base = self.base.channels
        return (self.name,) if len(base) == 1 else base

    @property
    def parts(self) -> tuple[Node, ...]:  # type: ignore[override]
        """The reward that scores samples and anchors."""
        return (self.base,)

    def evaluate(self, call: Call, state: State, path: str) -> Evaluation:
        """Score the samples, look the anchors' scores up (or make them), and map."""
        key = self.base.name
        inner = call.evaluate(self.base, state.get(key, {}), f"{path}/{key}")
        anchors = self.anchors if self.anchors is not None else call.context.anchors
        if anchors is None:
            raise NeedsError(
                f"{self.name!r} needs anchors, but none were given; pass them to relative() or as context.anchors."
            )
        own = self._anchor_scores(anchors, inner.state, state.get(OWN, {}), call.context)
        index, mask = match_anchors(call.samples.prompts, anchors.prompts)
        out = {
            name: self._mapped(channel, own["values"][old], own["ok"][old], index, mask)
            for name, (old, channel) in zip(self.channels, inner.scores.channels.items(), strict=True)
        }
        after = {key: inner.state, OWN: {} if inner.state else own}
        return Evaluation(path, self, Scores(out), {k: v for k, v in after.items() if v}, (inner,))

    def _anchor_scores(self, anchors: Samples, base_state: State, own: State, context: Context) -> Mapping[str, Any]:
        # A reward with state gives other numbers every call, so only a stateless one's scores can be kept.
        mark = _fingerprint(anchors)
        if not base_state and own.get("anchors") == mark:
            return own
        quiet = replace(context, training=False, anchors=None, log=None)
        with torch.no_grad():
            scores, _ = self.base.score(anchors, base_state, quiet)
        return {
            "anchors": mark,
            "values": {name: c.filled().detach() for name, c in scores.channels.items()},
            "ok": {name: c.ok for name, c in scores.channels.items()},
        }

    def _mapped(self, channel: Channel, values: Tensor, ok: Tensor, index: Tensor, mask: Tensor) -> Channel:
        if channel.value.ndim != 1 or values.ndim != 1:
            raise GuerdonError(f"{self.name!r} compares one reward a row, but {list(channel.value.shape)} came.")
        index, mask = index.to(values.device), mask.to(values.device)
        refs, counted = values[index], mask & ok[index]
        bare = ~counted.any(-1)
        value = self.fn(channel.filled(), refs, counted)
        status = channel.statuses()
        status = torch.where(bare & channel.ok, int(Status.NOT_APPLICABLE), status).to(torch.int8)
        note = channel.note
        if bool(bare.any()):
            said = note or [""] * len(value)
            note = [
                "; ".join(x for x in (s, NO_ANCHORS if b else "") if x)
                for s, b in zip(said, bare.tolist(), strict=True)
            ]
        if not bool((status != int(Status.OK)).any()):
            return Channel(value, note=note)
        return Channel(torch.where(status == int(Status.OK), value, float("nan")), status, note=note)


def relative(
    reward: Reward, anchors: Samples | None = None, fn: Callable[[Tensor, Tensor, Tensor], Tensor] | None = None
) -> Relative:
    """The reward compared with itself on anchors of the same prompt: ``fn(r [N], anchor r [N,M], mask [N,M]) -> [N]``.

    anchors: kept responses (any number a prompt), or None to read ``context.anchors``. fn: ``par()`` by default, or
    ``lsc``, ``contrast``, ``anchored_tanh``, ``polynomial``, ``sgfc``, or any function of that shape.

    Anchors are scored by the reward itself: once for a stateless reward (the scores stay in the state), at every call
    for one with state, with its current state and nothing updated. Anchor scores carry no gradient. A prompt without a
    valid anchor makes its rows NOT_APPLICABLE, with a note: any number would be on another scale than its neighbours.
    Raises NeedsError without anchors, GuerdonError for step rewards [N,T].
    """
    return Relative(as_node(reward), anchors, par() if fn is None else fn)
