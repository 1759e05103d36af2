"""From an objective's needs to the world's forward passes: which names are fixed through a round, and which carry
gradient."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from guerdon.batch import Batch, Predictions, Samples, Seed, Steps, TokenRows
from guerdon.errors import GuerdonError, NeedsError
from guerdon.objectives import Objective
from guerdon.training import distributed
from guerdon.training.recipe import ROW, Recipe
from guerdon.worlds.snapshots import LIVE, Snapshots

OLD, SAMPLER = "old", "sampler"
"""Names that need no snapshot: the policy as it was when the round began, and what the world recorded while
sampling."""


def asked(paths: Iterable[str], kind: str) -> tuple[str, ...]:
    """Names of the 'logp' or 'stats' among paths of needs."""
    prefix = f"steps.{kind}."
    return tuple(dict.fromkeys(p.removeprefix(prefix) for p in paths if p.startswith(prefix)))


def known(recipe: Recipe) -> tuple[str, ...]:
    """Names of the snapshots of any actor."""
    actors = {"": recipe.snapshots} if isinstance(recipe.snapshots, Snapshots) else recipe.snapshots
    return tuple(dict.fromkeys(name for s in actors.values() for name in s.names()))


def fixed_paths(recipe: Recipe, objective: Objective) -> tuple[str, ...]:
    """Paths computed once a round without gradient: what the estimator reads, what is tracked, and every log-prob of
    the objective but the live policy's. 'old' is left to the update itself where there is one update a round and
    nothing else reads it."""
    wanted = dict.fromkeys((*recipe.estimator.needs, *recipe.track))
    for name in objective.logps():
        once = name == OLD and name not in known(recipe) and recipe.build.updates == 1
        if name != LIVE and not once:
            wanted.setdefault(f"steps.logp.{name}")
    wanted |= dict.fromkeys(f"steps.stats.{s}" for s in objective.stats() if s.startswith("old_value:"))
    provided = {f"steps.stats.{name}" for c in recipe.companions for name in c.provides}
    return tuple(p for p in wanted if p.startswith(("steps.logp.", "steps.stats.")) and p not in provided)


def refuse_early(recipe: Recipe, objective: Objective) -> None:
    """Raise NeedsError, before anything is computed, for the first need that this recipe cannot meet."""
    names = {LIVE, OLD, SAMPLER, *known(recipe)}
    drawn = {f"rows.{name}" for name in recipe.beside}
    given = {*recipe.source.gives, *recipe.estimator.gives, *recipe.build.gives, *drawn}
    provided = {f"steps.stats.{name}" for c in recipe.companions for name in c.provides}
    for name in recipe.beside:
        if name not in known(recipe):
            raise NeedsError(
                f"Recipe.beside draws from {name!r}, but the snapshots are {sorted(known(recipe))}; add it."
            )
    for path in (*objective.needs, *recipe.estimator.needs, *recipe.track):
        kind, _, name = path.partition(".")
        if path.startswith("steps.logp."):
            name = path.removeprefix("steps.logp.")
            if name not in names:
                raise NeedsError(
                    f"The recipe needs log-probs of {name!r}, but its snapshots are {sorted(known(recipe))}; add one."
                )
        elif path.startswith(("steps.stats.value:", "steps.stats.old_value:", "steps.stats.bootstrap:")):
            if path not in provided and name.partition(":")[2] not in getattr(recipe.world, "value_heads", {}):
                raise NeedsError(f"The recipe needs {path!r}, but no companion provides it; add a ValueHead.")
        elif kind == "scores":
            if recipe.reward is None:
                raise NeedsError(f"The recipe needs {path!r}, but has no reward.")
        elif kind == "heads" and not hasattr(recipe.world, "heads"):
            raise NeedsError(f"The objective needs {path!r}, but the world {type(recipe.world).__name__} has no heads.")
        elif kind in ("pairs", "lists", "rows", "advantages", "returns") and path not in given:
            raise NeedsError(
                f"The objective needs {path!r}, but the source gives {list(recipe.source.gives)}, the estimator "
                f"{recipe.estimator.name!r} gives {list(recipe.estimator.gives)} and the build "
                f"{recipe.build.name!r} gives {list(recipe.build.gives)}."
            )


class Cache:
    """Fixed log-probs of recorded rows, kept in memory by the snapshot's version and the row's number in its source: a
    reference that does not change is read once an epoch's first visit and never again."""

    def __init__(self) -> None:
        self.rows: dict[str, dict[int, Tensor]] = {}

    def read(self, version: str, ids: Tensor) -> Tensor | None:
        """[N,T] where every row is there, else None."""
        held = self.rows.get(version, {})
        found = [held.get(i) for i in ids.tolist()]
        return None if any(x is None for x in found) else torch.stack([x for x in found if x is not None])

    def write(self, version: str, ids: Tensor, values: Tensor) -> None:
        """Keep [N,T]; rows of other versions of the same snapshot are dropped."""
        name = version.partition("@")[0]
        self.rows = {v: rows for v, rows in self.rows.items() if v == version or v.partition("@")[0] != name}
        self.rows.setdefault(version, {}).update(zip(ids.tolist(), values, strict=True))


def fixed(
    recipe: Recipe, samples: Samples, paths: tuple[str, ...], cache: Cache, ids: Tensor | None, seed: Seed
) -> Steps | Predictions | None:
    """Mask, fixed log-probs and statistics of a round (or predictions at its probe), without gradient; rows are shared
    among ranks.

    ids: which rows of a recorded source these are (their log-probs are kept), None where they were sampled. None comes
    back where the world re-scores nothing, as a world of reward heads.
    """
    names, stats = asked(paths, "logp"), asked(paths, "stats")
    if not hasattr(recipe.world, "rescore"):
        return None
    versions = recipe.snapshots.versions() if isinstance(recipe.snapshots, Snapshots) else {}
    kept = {n: versions[n] for n in names if n in versions and n != LIVE and ids is not None and recipe.probe is None}
    found = {n: x for n, v in kept.items() if ids is not None and (x := cache.read(v, ids)) is not None}
    missing = tuple(n for n in names if n not in found)
    if not missing and not stats and recipe.probe is None and isinstance(samples.payload, TokenRows):
        return Steps(samples.payload.response, found, spans=samples.payload.spans)
    read = _in_parts(recipe, samples, missing, stats, seed)
    if isinstance(read, Predictions):
        return read
    for n in kept.keys() & set(missing):
        assert ids is not None
        cache.write(kept[n], ids, read.logp[n])
    spans = samples.payload.spans if isinstance(samples.payload, TokenRows) else {}
    return replace(read, logp={**read.logp, **found}, spans={**spans, **read.spans})


def live(recipe: Recipe, objective: Objective, batch: Batch, samples: Samples, seed: Seed) -> Batch:
    """The batch with what needs a forward pass now: the policy's log-probs and statistics with gradient, heads,
    predictions.

    Names of ``AT_START`` that nobody computed before are the live policy's own values, detached (the first update of a
    round). The batch keeps its own mask, which may leave out steps on purpose.
    """
    samples = samples.take(batch.columns[ROW].cpu())
    heads = tuple(p.removeprefix("heads.") for p in objective.needs if p.startswith("heads."))
    if heads:
        batch = replace(batch, heads=recipe.world.heads(recipe.snapshots, samples, heads))  # type: ignore[attr-defined]
    held = (
        batch.predictions.predicted
        if batch.predictions is not None
        else batch.steps.logp
        if batch.steps is not None
        else {}
    )
    names = tuple(n for n in objective.logps() if n not in held)
    # What is fixed has no gradient, so a statistic of the loss is read anew although the estimator may have had it.
    given = {name for c in recipe.companions for name in c.provides}
    stats = tuple(s for s in objective.stats() if not s.startswith("old_value:") and s not in given)
    if not names and not stats:
        return batch
    now = tuple(n for n in names if n == OLD and n not in known(recipe))
    of = tuple(dict.fromkeys((LIVE, *(n for n in names if n not in now))))
    probe = None if recipe.probe is None else recipe.probe(samples, seed)
    rows = still(recipe, objective, batch)
    # Few worlds can spare a row its backward pass; in the others its gradient is zero.
    spared = {} if rows is None or not getattr(recipe.world, "spares", False) else {"still": rows}
    fresh = recipe.world.rescore(recipe.snapshots, samples, of, stats, probe, **spared)
    if isinstance(fresh, Predictions):
        detached = {n: fresh.predicted[LIVE].detach() for n in now}
        whole = replace(fresh, predicted={**held, **fresh.predicted, **detached})
        return replace(batch, predictions=whole, steps=whole.as_steps())
    detached = {n: fresh.logp[LIVE].detach() for n in now}
    have = fresh if batch.steps is None else batch.steps
    steps = replace(have, logp={**held, **fresh.logp, **detached}, stats={**have.stats, **fresh.stats})
    return replace(batch, steps=steps)


def still(recipe: Recipe, objective: Objective, batch: Batch) -> Tensor | None:
    """bool [N]: rows that the source calls still, where every term reads them for its sums over the batch and none
    reads them otherwise; None where there are none or a term may read any row."""
    paths: tuple[str, ...] = getattr(recipe.source, "still", ())
    if not paths or not all(t.couple is not None and set(paths) <= set(t.needs) for t in objective.terms):
        return None
    rows = torch.zeros(len(batch), dtype=torch.bool, device=batch.device)
    for path in paths:
        rows[batch.read(path)] = True
    for path in objective.needs:
        if path.startswith("rows.") and path not in paths:
            rows[batch.read(path)] = False
    return rows


def _in_parts(
    recipe: Recipe, samples: Samples, names: tuple[str, ...], stats: tuple[str, ...], seed: Seed
) -> Steps | Predictions:
    """Rescored without gradient in micro-batches, each rank its share, put together again on every rank."""
    own = {*known(recipe), SAMPLER}
    width = getattr(samples.payload, "width", 1)
    parts = max(recipe.micro.parts(len(samples), width), distributed.size())
    pieces = torch.arange(len(samples)).tensor_split(max(1, min(parts, len(samples))))
    # PPO's value clipping compares with the value as it was now.
    asked_of_world = tuple(dict.fromkeys(s.removeprefix("old_") if s.startswith("old_value:") else s for s in stats))
    of = tuple(dict.fromkeys(n if n in own else LIVE for n in names))

    def mine() -> list[Steps | Predictions]:
        parts = [samples.take(at) for at in distributed.share(pieces)]
        probes = [None if recipe.probe is None else recipe.probe(rows, seed) for rows in parts]
        with torch.no_grad():
            return [
                recipe.world.rescore(recipe.snapshots, rows, of, asked_of_world, probe)
                for rows, probe in zip(parts, probes, strict=True)
            ]

    gathered = distributed.together(mine)
    ordered: list[Any] = [gathered[k % len(gathered)][k // len(gathered)] for k in range(len(pieces))]
    first = ordered[0]
    if isinstance(first, Predictions):
        if recipe.probe is None:
            raise GuerdonError("This world gives predictions; give Recipe.probe, so that all names share one probe.")
        joined = _joined(ordered, "predicted")
        weight = None if first.weight is None else torch.cat([x.weight for x in ordered])
        return Predictions(
            torch.cat([x.mask for x in ordered]),
            torch.cat([x.target for x in ordered]),
            {n: joined[n if n in own else LIVE] for n in names},
            weight,
        )
    logp, read = _joined(ordered, "logp"), _joined(ordered, "stats")
    return Steps(
        torch.cat([x.mask for x in ordered]),
        {n: logp[n if n in own else LIVE] for n in names},
        {s: read[s.removeprefix("old_") if s.startswith("old_value:") else s] for s in stats},
        _joined(ordered, "spans"),
    )


def _joined(parts: Sequence[Any], field: str) -> dict[str, Tensor]:
    return {k: torch.cat([getattr(x, field)[k] for x in parts]) for k in getattr(parts[0], field)}
