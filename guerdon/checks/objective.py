"""``check_objective``: an objective on a batch keeps every property a loss must keep."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from guerdon.batch import Batch, Predictions, Scores, Steps
from guerdon.checks.case import Case, CheckFailed
from guerdon.checks.compare import close
from guerdon.checks.run import PASSED, run_all
from guerdon.errors import GuerdonError
from guerdon.objectives import Objective

# What a forward pass differentiates; everything else in a batch is data.
DIFFERENTIATED = ("steps.logp.policy", "steps.stats.", "heads.")
DATA_STATS = ("steps.stats.old_value:", "steps.stats.bootstrap:")


def tensors_of(batch: Batch, needs: tuple[str, ...]) -> dict[str, Tensor]:
    """Every real tensor of the batch that the needs name, by path."""
    found: dict[str, Tensor] = {}
    for path in needs:
        here = batch.read(path)
        if isinstance(here, Tensor) and here.is_floating_point():
            found[path] = here.detach()
    return found


def with_tensors(batch: Batch, values: Mapping[str, Tensor], mask: Tensor | None) -> Batch:
    """The batch with other tensors at these paths."""

    def named(prefix: str, old: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {name: values.get(prefix + name, x) for name, x in old.items() if prefix + name in values}

    steps = batch.steps
    if steps is not None and mask is not None:
        spans = {k: _columns(v, mask) for k, v in steps.spans.items()} if steps.spans else {}
        steps = Steps(mask, named("steps.logp.", steps.logp), named("steps.stats.", steps.stats), spans)
    return Batch(
        steps,
        None,
        batch.pairs,
        batch.rows,
        named("advantages.", batch.advantages),
        named("returns.", batch.returns),
        batch.scores,
        named("heads.", batch.heads),
        batch.columns,
        batch.block,
        batch.lists,
    )


def with_empty_row(batch: Batch) -> Batch:
    """The batch with one more row, of which nothing is known and no step is live."""
    n = len(batch)

    def more(x: Tensor) -> Tensor:
        fill: Any = float("nan") if x.is_floating_point() else False if x.dtype == torch.bool else -1
        return torch.cat([x, x.new_full((1, *x.shape[1:]), fill)])

    def each(named: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {k: more(v) for k, v in named.items()}

    again = torch.arange(n + 1).clamp(max=n - 1)
    steps = batch.steps
    return Batch(
        None if steps is None else Steps(more(steps.mask), each(steps.logp), each(steps.stats), each(steps.spans)),
        None,
        batch.pairs,
        batch.rows,
        each(batch.advantages),
        each(batch.returns),
        None if batch.scores is None else batch.scores.take(again),
        each(batch.heads),
        {k: v[again] if isinstance(v, Tensor) else [*v, v[-1]] for k, v in batch.columns.items()},
        None if batch.block is None else torch.cat([batch.block, batch.block.max()[None] + 1]),
        batch.lists,
    )


def _columns(spans: Tensor, mask: Tensor) -> Tensor:
    return spans if spans.shape == mask.shape else spans.new_full(mask.shape, -1)


def objective_case(
    objective: Objective,
    batch: Batch,
    *,
    name: str | None = None,
    differentiable: tuple[str, ...] | None = None,
    also: tuple[str, ...] = (),
    **roles: Any,
) -> Case:
    """The loss of a batch as a case: inputs are the batch's tensors by path, its mask, and the order of its rows.

    differentiable: paths that receive gradient; by default those a forward pass gives (policy log-probs, heads,
    values and other statistics). also: further paths that become inputs.
    roles: further fields of ``Case`` (moves, degrees, limits, ratio, domain, …).
    """
    real = tensors_of(batch, (*objective.needs, *also))
    steps = batch.steps is not None
    mask = batch.steps.mask if batch.steps is not None else None
    if differentiable is None:
        wanted = (p for p in real if p.startswith(DIFFERENTIATED) and not p.startswith(DATA_STATS))
        differentiable = tuple(wanted)

    def built(order: Tensor, mask: Tensor | None, values: Mapping[str, Tensor]) -> Batch:
        whole = with_tensors(batch, values, mask)
        if torch.equal(order, torch.arange(len(batch))):
            return whole
        padded = whole if bool((order >= 0).all()) else with_empty_row(whole)
        return padded.take(torch.where(order >= 0, order, len(batch)))

    def call(order: Tensor, mask: Tensor | None = None, **values: Tensor) -> Tensor:
        return objective.loss(built(order, mask, values)).value

    def micro(order: Tensor, mask: Tensor | None = None, **values: Tensor) -> Tensor:
        cuts = built(order, mask, values).split(3)
        stats, whole = objective.couple(cuts), objective.denominators(cuts)
        return torch.stack([objective.loss(part, whole, stats).value for part in cuts]).sum()

    def frozen(order: Tensor, mask: Tensor | None = None, **values: Tensor) -> Tensor:
        # Coupled statistics are constants of the loss: finite differences must not move them.
        base = {k: v.to(next(iter(values.values())).dtype) for k, v in real.items()}
        stats = objective.couple([built(order, mask, base)])
        return objective.loss(built(order, mask, values), stats=stats).value

    inputs: dict[str, Any] = {**real, "order": torch.arange(len(batch))}
    if mask is not None:
        inputs["mask"] = mask
    wide = tuple(p for p, x in real.items() if mask is not None and x.shape == mask.shape)
    # Log-probs as they come out of a model: none is positive.
    signs = {p: (-1e4, 0.0) for p in real if p.startswith("steps.logp.")}
    given: dict[str, Any] = {
        "real": tuple(real),
        "differentiable": differentiable,
        "masks": {"mask": wide} if steps and wide else {},
        "rows": {"order": 0},
        "steps": {**dict.fromkeys(wide, 1), "mask": 1} if steps and wide else {},
        "result": "whole",
        "parts": micro,
        "frozen": frozen,
        "domain": signs,
        **roles,
    }
    return Case(name or "+".join(t.name for t in objective.terms), call, inputs, **given)


def needs_complete(objective: Objective, batch: Batch) -> None:
    """With nothing in the batch but what ``needs`` names the loss is the same. Raises CheckFailed."""
    full = objective.loss(batch).value.detach()
    try:
        bare = objective.loss(stripped(batch, objective.needs)).value.detach()
    except (GuerdonError, KeyError, AttributeError, TypeError, IndexError) as error:
        raise CheckFailed(f"the objective reads more than its needs {list(objective.needs)}: {error}") from error
    if not close(bare, full, 1e-6):
        raise CheckFailed(
            f"the objective reads more than its needs {list(objective.needs)}: without it the loss is {float(bare):g} "
            f"instead of {float(full):g}."
        )


def stripped(batch: Batch, needs: tuple[str, ...]) -> Batch:
    """The batch with nothing but what the needs name; the step mask and the blocks always stay."""
    firsts = {path.split(".", 1)[0] for path in needs}

    def some(prefix: str, old: Mapping[str, Any]) -> dict[str, Any]:
        return {k: v for k, v in old.items() if prefix + k in needs}

    steps, predictions = batch.steps, batch.predictions
    if predictions is not None:
        names = {path.split(".", 2)[2] for path in needs if path.startswith("steps.logp.")}
        kept = {k: v for k, v in predictions.predicted.items() if k in names or f"predictions.predicted.{k}" in needs}
        predictions = Predictions(predictions.mask, predictions.target, kept, predictions.weight)
    if steps is not None:
        spans = some("steps.spans.", steps.spans)
        steps = Steps(steps.mask, some("steps.logp.", steps.logp), some("steps.stats.", steps.stats), spans)
    return Batch(
        steps,
        predictions if "predictions" in firsts or batch.steps is None else None,
        batch.pairs if "pairs" in firsts else None,
        some("rows.", batch.rows),
        some("advantages.", batch.advantages),
        some("returns.", batch.returns),
        None if batch.scores is None or "scores" not in firsts else Scores(some("scores.", batch.scores.channels)),
        some("heads.", batch.heads),
        some("columns.", batch.columns),
        batch.block if batch.block is not None else batch.blocks(),
        batch.lists if "lists" in firsts else None,
    )


def check_objective(
    objective: Objective,
    batch: Batch,
    *,
    differentiable: tuple[str, ...] | None = None,
    skip: Mapping[str, str] = MappingProxyType({}),
    **roles: Any,
) -> dict[str, str]:
    """Hold an objective to every property of a loss: property -> outcome; raises CheckFailed naming what does not hold.

    batch: a small generic one: rows of unequal length, several pairs or groups, finite values, a few rows of blocks.
    Checked: masks, padding, micro-batches, order of rows, finite differences (coupled statistics held fixed), extreme
    inputs, precision, and that ``needs`` names all that is read. skip: property -> why it need not hold. roles: what
    else is claimed (``moves``, ``degrees``, ``limits``, ``ratio``, ``domain``; see ``Case``).
    """
    skipped = dict(skip)
    found: dict[str, str] = {}
    if "needs_complete" not in skipped:
        needs_complete(objective, batch)
        found["needs_complete"] = PASSED
    else:
        found["needs_complete"] = f"exempt: {skipped.pop('needs_complete')}"
    return {**found, **run_all(objective_case(objective, batch, differentiable=differentiable, **roles), skipped)}
