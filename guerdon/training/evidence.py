"""From an objective's needs to the world's forward passes: which names are fixed through a round, and which carry gradient."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from guerdon.batch import Batch, Predictions, Samples, Steps, TokenRows
from guerdon.errors import GuerdonError, NeedsError
from guerdon.objectives import Objective
from guerdon.training import distributed
from guerdon.training.recipe import ROW, Recipe
from guerdon.worlds.snapshots import LIVE, Snapshots

AT_START = ("old", "sampler")
"""Names that, unless a snapshot is called so, mean the policy as it was when the round began."""


def asked(paths: Iterable[str], kind: str) -> tuple[str, ...]:
    """Names of the 'logp' or 'stats' among paths of needs."""
    prefix = f"steps.{kind}."
    return tuple(dict.fromkeys(p.removeprefix(prefix) for p in paths if p.startswith(prefix)))


def known(recipe: Recipe) -> tuple[str, ...]:
    """Names of the snapshots of any actor."""
    actors = {"": recipe.snapshots} if isinstance(recipe.snapshots, Snapshots) else recipe.snapshots
    return tuple(dict.fromkeys(name for s in actors.values() for name in s.names()))


def fixed_paths(recipe: Recipe, objective: Objective) -> tuple[str, ...]:
    """Paths computed once a round without gradient: what the estimator reads, what is tracked, and every log-prob of the objective
    but the live policy's. 'old' is left to the update itself where there is one update a round and nothing else reads it."""
    wanted = dict.fromkeys((*recipe.estimator.needs, *recipe.track))
    for name in objective.logps():
        once = name in AT_START and name not in known(recipe) and recipe.build.updates == 1
        if name != LIVE and not once:
            wanted.setdefault(f"steps.logp.{name}")
    provided = {f"steps.stats.{name}" for c in recipe.companions for name in c.provides}
    return tuple(p for p in wanted if p.startswith(("steps.logp.", "steps.stats.")) and p not in provided)


def refuse_early(recipe: Recipe, objective: Objective) -> None:
    """Raise NeedsError, before anything is computed, for the first need that this recipe cannot meet."""
    names = {LIVE, *AT_START, *known(recipe)}
    given = {*recipe.source.gives, *recipe.estimator.gives, *recipe.build.gives}
    provided = {f"steps.stats.{name}" for c in recipe.companions for name in c.provides}
    for path in (*objective.needs, *recipe.estimator.needs, *recipe.track):
        kind, _, name = path.partition(".")
        if path.startswith("steps.logp."):
            name = path.removeprefix("steps.logp.")
            if name not in names:
                raise NeedsError(f"The recipe needs log-probs of {name!r}, but its snapshots are {sorted(known(recipe))}; add one.")
        elif path.startswith(("steps.stats.value:", "steps.stats.old_value:", "steps.stats.bootstrap:")):
            if path not in provided and not hasattr(recipe.world, "heads"):
                raise NeedsError(f"The recipe needs {path!r}, but no companion provides it; add a ValueHead.")
        elif kind == "scores":
            if recipe.reward is None:
                raise NeedsError(f"The recipe needs {path!r}, but has no reward.")
        elif kind == "heads" and not hasattr(recipe.world, "heads"):
            raise NeedsError(f"The objective needs {path!r}, but the world {type(recipe.world).__name__} has no heads.")
        elif kind in ("pairs", "rows", "advantages", "returns") and path not in given:
            raise NeedsError(
                f"The objective needs {path!r}, but the source gives {list(recipe.source.gives)}, the estimator "
                f"{recipe.estimator.name!r} gives {list(recipe.estimator.gives)} and the build {recipe.build.name!r} gives {list(recipe.build.gives)}."
            )


class Cache:
    """Fixed log-probs of recorded rows, kept in memory by the snapshot's version and the row's number in its source: a reference that
    does not change is read once an epoch's first visit and never again."""

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


def fixed(recipe: Recipe, samples: Samples, paths: tuple[str, ...], cache: Cache, ids: Tensor | None) -> Steps | None:
    """Mask, fixed log-probs and statistics of a round, without gradient; rows are shared among ranks.

    None where the world gives no steps: no path is asked and the payload is not of tokens, or the evidence needs a probe (then all
    names are computed together in the update).
    """
    names, stats = asked(paths, "logp"), asked(paths, "stats")
    if recipe.probe is not None or not hasattr(recipe.world, "rescore"):
        return None
    found: dict[str, Tensor] = {}
    versions = _versions(recipe)
    if ids is not None:
        for name in names:
            kept = cache.read(versions[name], ids) if name in versions and name != LIVE else None
            if kept is not None:
                found[name] = kept
    missing = tuple(name for name in names if name not in found)
    if not missing and not stats and isinstance(samples.payload, TokenRows):
        return Steps(samples.payload.response, found)
    read = _in_parts(recipe, samples, missing, stats)
    if read is None:
        return None
    if ids is not None:
        for name in missing:
            if name in versions and name != LIVE:
                cache.write(versions[name], ids, read.logp[name])
    return replace(read, logp={**read.logp, **found})


def live(recipe: Recipe, objective: Objective, batch: Batch, samples: Samples, probe: Any = None) -> Batch:
    """The batch with what needs a forward pass now: the policy's log-probs and statistics with gradient, heads, or predictions."""
    samples = samples.take(batch.columns[ROW].to("cpu"))
    heads = tuple(p.removeprefix("heads.") for p in objective.needs if p.startswith("heads."))
    if heads:
        batch = replace(batch, heads=recipe.world.heads(recipe.snapshots, samples, heads))  # type: ignore[attr-defined]
    have = batch.steps
    names = tuple(n for n in objective.logps() if have is None or n not in have.logp)
    stats = tuple(s for s in objective.stats() if have is None or s not in have.stats)
    if not names and not stats:
        return batch
    of = tuple(n for n in names if n not in AT_START or n in known(recipe))
    fresh = recipe.world.rescore(recipe.snapshots, samples, of or (LIVE,), stats, probe)
    if isinstance(fresh, Predictions):
        return replace(batch, predictions=fresh, steps=fresh.as_steps() if have is None else have)
    now = {n: fresh.logp[LIVE].detach() for n in names if n not in of}
    if have is None:
        return replace(batch, steps=replace(fresh, logp={**fresh.logp, **now}))
    # The batch's own mask stays: it may leave out steps on purpose.
    return replace(batch, steps=replace(have, logp={**have.logp, **fresh.logp, **now}, stats={**have.stats, **fresh.stats}))


def _versions(recipe: Recipe) -> Mapping[str, str]:
    return recipe.snapshots.versions() if isinstance(recipe.snapshots, Snapshots) else {}


def _in_parts(recipe: Recipe, samples: Samples, names: tuple[str, ...], stats: tuple[str, ...]) -> Steps | None:
    snapshots = known(recipe)
    of = tuple(dict.fromkeys(n if n in snapshots else LIVE for n in names))
    width = samples.payload.ids.shape[1] if isinstance(samples.payload, TokenRows) else 1
    parts = max(recipe.micro.parts(len(samples), width), distributed.size())
    pieces = torch.arange(len(samples)).tensor_split(min(parts, max(1, len(samples))))
    mine = []
    with torch.no_grad():
        for at in distributed.share(pieces):
            read = recipe.world.rescore(recipe.snapshots, samples.take(at), of, stats)
            if isinstance(read, Predictions):
                raise GuerdonError("This world gives predictions; give Recipe.probe, so that all names share one probe.")
            mine.append(read)
    gathered = distributed.gather(mine)
    ordered = [gathered[k % len(gathered)][k // len(gathered)] for k in range(len(pieces))]
    whole = Steps(
        torch.cat([s.mask for s in ordered]),
        *({k: torch.cat([getattr(s, kind)[k] for s in ordered]) for k in getattr(ordered[0], kind)} for kind in ("logp", "stats", "spans")),
    )
    return replace(whole, logp={n: whole.logp[n if n in snapshots else LIVE] for n in names})
