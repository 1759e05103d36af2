"""What snapshots say of the tokens taken: rows as packs without padding, or in chunks of similar length."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice

import torch
from torch import Tensor, nn

from guerdon import logprobs
from guerdon.batch import Steps, TokenRows
from guerdon.errors import GuerdonError, NeedsError
from guerdon.worlds.snapshots import LIVE, Snapshots
from guerdon.worlds.text import forest, lanes, masked
from guerdon.worlds.text.heads import Head, backbone, output
from guerdon.worlds.text.packs import Pack, packs
from guerdon.worlds.text.precision import Precision, computing

LAYOUTS = ("shared", "packed", "buckets", "padded")
"""How rows lie in a forward pass: packed, with what rows of one prompt share there once; packed, each row whole; padded
beside rows of similar length; all padded to the longest."""

_UNEVEN = 1.15
"""How much longer than the mean the longest of the packs read at once may be: about what reading them so gains."""

_CPU_TOKENS = 1536
"""Most tokens of a pack on a CPU, for each thread of the process."""


@dataclass(frozen=True)
class Chunk:
    """Rows of one forward pass, real tokens first: ids int64 [b,l]; chosen bool [b,l−1], True at j where token j + 1
    was chosen by the actor (so the states at ``chosen`` predict it); labels int64 [m]; place int64 [m], where each
    stands in the flat [N·L]; last bool [m], whether it is its row's last token; row int64 [m]."""

    ids: Tensor
    chosen: Tensor
    labels: Tensor
    place: Tensor
    last: Tensor
    row: Tensor


@dataclass(frozen=True)
class Evidence:
    """What one snapshot's forward pass gives at the m chosen tokens of a piece: before [m,D], the states that predict
    them, and the head these meet, or logits [m,V]; after [m,D], the states at the tokens themselves, only where a value
    head reads them."""

    before: Tensor | None = None
    weight: Tensor | None = None
    bias: Tensor | None = None
    logits: Tensor | None = None
    after: Tensor | None = None


def pieces(
    rows: TokenRows, head: Head, max_tokens: int, layout: str = "shared", still: Tensor | None = None, lanes: int = 1
) -> Iterator[Chunk | Pack]:
    """The rows in forward passes of at most ``max_tokens`` tokens, in one of ``LAYOUTS``. Where the model can be read
    neither by ``forest.states`` nor by ``masked.states``, packs are padded chunks; 'padded' is one chunk of any size.
    still: bool [N], rows whose tokens stand last in the packs of ``forest``; lanes: how many of these will be read at
    once.
    """
    # On a CPU small passes win: their tensors stay in the caches, and segments beside each other are of like length.
    small = rows.ids.device.type == "cpu"
    share = layout == "shared"
    if share or layout == "packed":
        if head.packs:
            most = max(1, max_tokens // lanes)
            most = min(most, _CPU_TOKENS * torch.get_num_threads()) if small else most
            return packs(rows, most, share, still, lanes)
        longest = int(rows.attention.sum(1).max()) if head.masks and len(rows) else 0
        if 0 < longest <= head.masks:
            return packs(rows, min(max_tokens, masked.CPU_TOKENS if small else masked.MOST), share)
    return chunks(rows, None if layout == "padded" else max_tokens)


def chunks(rows: TokenRows, max_tokens: int | None) -> Iterator[Chunk]:
    """Micro-batches of rows sorted by length, each at most ``max_tokens`` real and padded tokens (at least one row);
    None: all in one.

    A causal model never looks right, so padding on the right needs no attention mask and changes nothing; that is why
    rows are packed, whatever side they were padded on. Rows without a chosen token are left out.
    """
    length = rows.attention.sum(1)
    order = torch.argsort((~rows.attention).to(torch.int8), dim=1, stable=True)
    ids, response = rows.ids.gather(1, order), rows.response.gather(1, order)
    if bool(response[:, :1].any()):
        row = int(response[:, 0].nonzero()[0, 0])
        raise GuerdonError(
            f"Row {row} begins with a response token, which nothing predicts; give its prompt at least one token "
            "(the beginning of sequence)."
        )
    by_length = torch.argsort(length, stable=True)
    by_length = by_length[response.any(1)[by_length]]
    place = order + torch.arange(len(ids), device=ids.device)[:, None] * ids.shape[1]
    begin, real = 0, 0
    sizes = length[by_length].tolist()
    for end in range(1, len(sizes) + 1):
        real += sizes[end - 1]
        if end < len(sizes) and (
            max_tokens is None or _joins((end + 1 - begin) * sizes[end], real + sizes[end], max_tokens)
        ):
            continue
        at, width = by_length[begin:end], sizes[end - 1]
        chosen = response[at, 1:width]
        yield Chunk(
            torch.where(torch.arange(width, device=ids.device) < length[at, None], ids[at, :width], 0),
            chosen,
            ids[at, 1:width][chosen],
            place[at, 1:width][chosen],
            (torch.arange(1, width, device=ids.device) == length[at, None] - 1)[chosen],
            at[:, None].expand(-1, width - 1)[chosen],
        )
        begin, real = end, 0


def _joins(padded: int, real: int, max_tokens: int) -> bool:
    """Whether a chunk may grow to ``padded`` tokens of which ``real`` are real: within the budget, and small or
    mostly real (a pass over padding costs what a pass over tokens does; a pass more costs about as much as some
    hundred tokens)."""
    return padded <= max_tokens and (padded <= max_tokens // 16 or 4 * real >= 3 * padded)


def evidence(
    model: nn.Module, head: Head, piece: Chunk | Pack, after: bool = False, compute: torch.dtype | None = None
) -> Evidence:
    """One forward pass, its matrix products in ``compute``; only chosen positions are kept, so [b,l,V] never exists
    where the head is linear."""
    with computing(piece.ids.device, compute):
        return _evidence(model, head, piece, after)


def _evidence(model: nn.Module, head: Head, piece: Chunk | Pack, after: bool) -> Evidence:
    if isinstance(piece, Pack):
        at, plain = len(piece.read), output(model)
        states = forest.states if head.packs else masked.states
        hidden = states(backbone(model), piece, torch.cat([piece.read, piece.own]) if after else piece.read)
        return Evidence(hidden[:at], plain.weight, plain.bias, after=hidden[at:] if after else None)
    if head.linear:
        hidden, plain = backbone(model)(input_ids=piece.ids, use_cache=False)[0], output(model)
        kept = hidden[:, 1:][piece.chosen] if after else None
        return Evidence(hidden[:, :-1][piece.chosen], plain.weight, plain.bias, after=kept)
    out = model(input_ids=piece.ids, use_cache=False, output_hidden_states=after)
    logits = out.logits[:, :-1][piece.chosen]
    if not after:
        return Evidence(logits=logits)
    hidden = out.hidden_states[-1]
    return Evidence(hidden[:, :-1][piece.chosen], logits=logits, after=hidden[:, 1:][piece.chosen])


def token_stats(
    of: Evidence,
    labels: Tensor,
    want: Sequence[logprobs.Want],
    head: Head,
    temperature: float,
    to: Evidence | None = None,
    precision: Precision = Precision(),  # noqa: B008 - frozen
) -> Mapping[str, Tensor]:
    """'logp', 'entropy', 'collision', 'kl' [m] of one snapshot, the last against ``to``, at ``temperature``."""
    if of.logits is not None:
        second = None if to is None else to.logits
        # Alone, so that logp is computed in the same way, to the bit, whatever else is asked for.
        rest = tuple(w for w in want if w != "logp")
        logp = logprobs.from_logits(of.logits, labels, temperature=temperature) if "logp" in want else {}
        more = (
            logprobs.from_logits(of.logits, labels, want=rest, second=second, temperature=temperature) if rest else {}
        )
        return {**logp, **more}
    assert of.before is not None and of.weight is not None
    other = None
    if to is not None:
        assert to.before is not None and to.weight is not None
        other = (to.before, to.weight, to.bias)
    return logprobs.token_logprobs(
        of.before,
        of.weight,
        labels,
        bias=of.bias,
        want=want,
        second=other,
        temperature=temperature,
        softcap=head.softcap,
        products=precision.compute,
        logits=precision.logits,
    )


def rescore(
    snapshots: Snapshots,
    rows: TokenRows,
    head: Head,
    names: Sequence[str],
    stats: Sequence[str],
    value_heads: Mapping[str, nn.Module],
    max_tokens: int,
    terminated: Tensor | None,
    layout: str = "shared",
    precision: Precision = Precision(),  # noqa: B008 - frozen
    still: Tensor | None = None,
    most: int = lanes.LANES,
) -> Steps:
    """The whole of ``TextWorld.rescore`` on token rows; see there."""
    recorded = [n for n in names if n not in snapshots and n == "sampler" and rows.logp is not None]
    run = [n for n in names if n not in recorded and n != LIVE]
    against = [s.removeprefix("kl:") for s in stats if s.startswith("kl:")]
    run += [n for n in against if n not in run and n != LIVE]
    live = LIVE in names or bool(stats)
    want: list[logprobs.Want] = ["logp"]
    want += ["entropy"] if "entropy" in stats else []
    want += ["collision"] if "collision" in stats else []
    valued = {s: value_heads[s.split(":")[1]] for s in _known(stats, value_heads)}
    asked = _Asked(head, rows.temperature, precision, want, against, valued, terminated)
    found: dict[str, list[Tensor]] = {}
    places: list[Tensor] = []
    at_once = _at_once(snapshots, rows, head, layout, valued, most)
    for group in _groups(pieces(rows, head, max_tokens, layout, still, at_once), at_once):
        places += [piece.place for piece in group]
        seen: list[dict[str, Evidence]] = [{} for _ in group]
        for name in run:
            with torch.no_grad(), snapshots.using(name) as module:
                read = lanes.at_once(partial(asked.past, module, name in names), group)
            for at, (e, told) in zip(seen, read, strict=True):
                found.setdefault(name, []).extend(told.values())
                at |= {name: e} if name in against else {}
        if not live:
            continue
        with nullcontext() if LIVE in names else torch.no_grad(), snapshots.using(LIVE) as module:
            both = list(zip(group, seen, strict=True))
            for told in lanes.each(partial(asked.now, module), both, asked.keys, [module, *valued.values()]):
                for key, x in told.items():
                    found.setdefault(LIVE if key == "logp" else key, []).append(x)
    spread = _spreader(rows, places)
    logp = {n: spread(found.get(n, [])) for n in names if n not in recorded}
    for name in recorded:
        assert rows.logp is not None
        logp[name] = rows.logp
    return Steps(rows.response, logp, {s: spread(found.get(s, [])) for s in stats})


@dataclass(frozen=True)
class _Asked:
    """What is asked of the live policy at the tokens of a piece, ``keys``: want, 'kl:<name>' for the names ``against``,
    and the statistics ``valued`` by the value head of each."""

    head: Head
    temperature: float
    precision: Precision
    want: Sequence[logprobs.Want]
    against: Sequence[str]
    valued: Mapping[str, nn.Module]
    terminated: Tensor | None

    @property
    def keys(self) -> list[str]:
        return [*self.want, *(f"kl:{name}" for name in self.against), *self.valued]

    def past(self, module: nn.Module, named: bool, piece: Chunk | Pack) -> tuple[Evidence, Mapping[str, Tensor]]:
        """What another snapshot gives, and its log-probs where it is ``named``."""
        e = evidence(module, self.head, piece, compute=self.precision.compute)
        if not named:
            return e, {}
        return e, token_stats(e, piece.labels, ("logp",), self.head, self.temperature, precision=self.precision)

    def now(self, module: nn.Module, of: tuple[Chunk | Pack, Mapping[str, Evidence]]) -> Mapping[str, Tensor]:
        """``keys`` of the live policy, given what the snapshots it is held against gave."""
        piece, seen = of
        e = evidence(module, self.head, piece, after=bool(self.valued), compute=self.precision.compute)
        told = dict(_by_motion(e, piece, self.want, self.head, self.temperature, self.precision))
        for name in self.against:
            kl = token_stats(e, piece.labels, ("kl",), self.head, self.temperature, seen.get(name, e))["kl"]
            told[f"kl:{name}"] = kl
        return told | {stat: _value(stat, e, piece, value, self.terminated) for stat, value in self.valued.items()}


def _at_once(
    snapshots: Snapshots, rows: TokenRows, head: Head, layout: str, valued: Mapping[str, nn.Module], most: int
) -> int:
    """How many pieces are read at once: several where these are packs of ``forest`` on a CPU."""
    if not head.packs or layout not in ("shared", "packed"):
        return 1
    with snapshots.using(LIVE) as module:
        return lanes.fitting([module, *valued.values()], int(rows.attention.sum()), most)


def _groups(passes: Iterator[Chunk | Pack], at_once: int) -> Iterator[list[Chunk | Pack]]:
    """Pieces that are read at once, unless the longest would keep the others waiting."""
    while group := list(islice(passes, at_once)):
        tokens = [piece.ids.numel() for piece in group]
        if len(group) * max(tokens) <= _UNEVEN * sum(tokens):
            yield group
        else:
            yield from ([piece] for piece in group)


def _by_motion(
    e: Evidence,
    piece: Chunk | Pack,
    want: Sequence[logprobs.Want],
    head: Head,
    temperature: float,
    precision: Precision,
) -> Mapping[str, Tensor]:
    """``token_stats``, those of a pack's still tokens without gradient."""
    if e.before is None or not isinstance(piece, Pack) or piece.moving == len(piece.ids) or not torch.is_grad_enabled():
        return token_stats(e, piece.labels, want, head, temperature, precision=precision)
    cut = int((piece.own < piece.moving).sum())
    parts = []
    for moves, at in ((True, slice(0, cut)), (False, slice(cut, None))):
        with torch.set_grad_enabled(moves):
            some = replace(e, before=e.before[at], after=None)
            parts.append(token_stats(some, piece.labels[at], want, head, temperature, precision=precision))
    return {key: torch.cat([p[key] for p in parts]) for key in parts[0]}


def _known(stats: Sequence[str], value_heads: Mapping[str, nn.Module]) -> list[str]:
    """Those of the statistics that a value head reads. Raises NeedsError on an unknown one."""
    for stat in stats:
        kind, _, name = stat.partition(":")
        if kind in ("value", "bootstrap") and name not in value_heads:
            raise NeedsError(f"The statistic {stat!r} needs a value head {name!r}; there are {sorted(value_heads)}.")
        if stat not in ("entropy", "collision") and kind not in ("kl", "value", "bootstrap"):
            raise NeedsError(
                f"A text world knows 'entropy', 'collision', 'kl:<name>', 'value:<channel>' and 'bootstrap:<channel>', "
                f"but {stat!r} was asked for."
            )
    return [s for s in stats if s.split(":")[0] in ("value", "bootstrap")]


def _value(stat: str, e: Evidence, piece: Chunk | Pack, head: nn.Module, terminated: Tensor | None) -> Tensor:
    """[m]: value before each chosen token, or after it ('bootstrap': 0 after the last token of a row that is over)."""
    kind = stat.split(":")[0]
    states = e.before if kind == "value" else e.after
    assert states is not None
    values = head(states.to(next(head.parameters()).dtype)).squeeze(-1).float()
    if kind == "value":
        return values
    if terminated is None:
        raise NeedsError("The statistic 'bootstrap' needs Samples.terminated, which these samples do not tell.")
    return torch.where(terminated[piece.row] & piece.last, 0.0, values)


def _spreader(rows: TokenRows, places: Sequence[Tensor]) -> Callable[[Sequence[Tensor]], Tensor]:
    """A function that puts the chunks' values [m] back at their positions [N,L], 0 elsewhere."""
    place = torch.cat(list(places)) if places else torch.zeros(0, dtype=torch.int64, device=rows.ids.device)

    def spread(values: Sequence[Tensor]) -> Tensor:
        if not values:
            return torch.zeros(rows.ids.shape, device=rows.ids.device)
        found = torch.cat(list(values))
        return found.new_zeros(rows.ids.numel()).scatter(0, place, found).reshape(rows.ids.shape)

    return spread
