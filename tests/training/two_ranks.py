"""One process of several: `RANK=r WORLD_SIZE=n MASTER_ADDR=… MASTER_PORT=… python -m tests.training.two_ranks OUT` runs
every recipe of ``RECIPES`` over gloo and saves what it found."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from guerdon import advantages
from guerdon.batch import Batch, Seed, Status
from guerdon.objectives import Objective, clipped, dpo, entropy_bonus, kl_penalty, sft
from guerdon.shaping import minimum_norm
from guerdon.training import (
    Companion,
    Micro,
    Optim,
    Recipe,
    Recorded,
    Round,
    by_row,
    distributed,
    joined,
    minibatches,
    run,
)
from guerdon.worlds.snapshots import Frozen, Snapshots
from tests.training.test_run import every_pair, online
from tests.training.toy import Count, Table, ToyWorld

SGD = Optim(lr=0.5, kind="sgd")


class Trace(Companion):
    """Weights and gradient after every round."""

    name = "trace"

    def __init__(self) -> None:
        self.weights: list[torch.Tensor] = []
        self.gradients: list[torch.Tensor] = []

    def after_round(self, round: Round) -> dict[str, float]:
        logits = round.snapshots.module.logits  # type: ignore[union-attr]
        self.weights.append(logits.detach().clone())
        self.gradients.append(logits.grad.clone())
        return {}


def pairs(objective: Objective, **changes: Any) -> Recipe:
    """Forty pairs in updates of seven: ranks hold uneven numbers of pairs, and the last update of an epoch is short."""
    world, snapshots = ToyWorld(), Snapshots(Table(steps=1), reference=Frozen())
    samples, made = every_pair(world, snapshots, lambda p, i, j: 0.9)
    recipe = Recipe(world, snapshots, Recorded(samples, 7, made, seed=Seed(3)), objective, SGD, rounds=7)
    return replace(recipe, **{"track": ("steps.logp.reference",), **changes})


def coupled() -> Objective:
    """(−log π minus its mean over the whole batch)², a stand-in for KTO's z₀: its loss needs sums over all ranks."""
    term = sft().terms[0]

    def couple(batch: Batch) -> dict[str, torch.Tensor]:
        assert batch.steps is not None
        return {"sum": batch.steps.logprob("policy").sum(), "n": batch.steps.mask.sum().float()}

    def unit(batch: Batch, stats: Any) -> torch.Tensor:
        return (term.unit(batch, {}) + stats["sum"] / stats["n"]).square()

    return Objective((replace(term, name="coupled", unit=unit, couple=couple),))


def grpo(**changes: Any) -> Recipe:
    """Several epochs, minibatches, a KL to the reference, entropy: everything that is summed over rows."""
    made: dict[str, Any] = {
        "rounds": 3,
        "objective": clipped() + 0.1 * kl_penalty() + 0.01 * entropy_bonus(),
        "build": minibatches(2, 2),
        "optim": SGD,
        "estimator": by_row(advantages.group_relative),
        "track": ("steps.logp.reference",),
        "micro": Micro(rows=3),
    }
    return online(**{**made, **changes})


ONE_SIDED = dict.fromkeys((0, 1, 2, 3, 4, 5, 6, 17), Status.FAILED)
"""Nearly all of the first prompt's rows, which the first rank would hold."""

RECIPES: dict[str, Callable[[], Recipe]] = {
    "grpo": grpo,
    "grpo, rows failed on one side": lambda: grpo(reward=Count(ONE_SIDED)),
    "grpo, adam": lambda: grpo(optim=Optim(lr=0.05, kind="adam")),
    "dpo": lambda: pairs(dpo(0.5), micro=Micro(rows=4)),
    "sft, fewer rows than ranks": lambda: pairs(sft("winner"), source=one_pair()),
    "coupled": lambda: pairs(dpo(0.5) + 0.1 * coupled(), micro=Micro(rows=5)),
    "gradients combined": lambda: pairs(dpo(0.5) + 0.5 * sft("winner"), combine=minimum_norm()),
}


def one_pair() -> Recorded:
    """One pair an update: the second rank of two has a row, a third none."""
    world = ToyWorld()
    samples, made = every_pair(world, Snapshots(Table(steps=1)), lambda p, i, j: 1.0)
    return Recorded(samples, 1, made, seed=Seed(3))


def found(recipe: Recipe, out: str | None = None) -> dict[str, Any]:
    """Metrics of every round, and weights and gradients after each [R,...]."""
    trace = Trace()
    history = run(replace(recipe, companions=(*recipe.companions, trace)), out, save_every=2).history
    metrics = [{k: float(v) for k, v in m.items()} for m in history]
    return {"metrics": metrics, "weights": torch.stack(trace.weights), "gradients": torch.stack(trace.gradients)}


def told(call: Callable[[], Any]) -> str:
    """The error of a call, or ''."""
    try:
        call()
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""


class Gone(ToyWorld):
    """A forward pass with gradient fails on the last rank."""

    def rescore(self, *args: Any, **kwargs: Any) -> Any:
        if torch.is_grad_enabled() and distributed.rank() == distributed.size() - 1:
            raise OSError("the device has gone")
        return super().rescore(*args, **kwargs)


class Unsendable(Exception):
    """An error that cannot be made again from its arguments."""

    def __init__(self, first: str, second: str) -> None:
        super().__init__(first + second)


def fail(*_: Any) -> dict[str, float]:
    raise Unsendable("no", "where")


def other_start() -> Recipe:
    """Weights that differ between ranks."""
    recipe = grpo()
    with torch.no_grad():
        recipe.snapshots.module.logits[0, 0, 0] += 0.01 * distributed.rank()  # type: ignore[union-attr]
    return recipe


def main() -> None:
    out = sys.argv[1]
    torch.set_num_threads(1)
    before = told(lambda: run(grpo()))
    with joined():
        rank, size = distributed.rank(), distributed.size()
        result = {name: found(make(), f"{out}/run" if name == "grpo" else None) for name, make in RECIPES.items()}
        calls: list[int] = []
        run(grpo(), on_metrics=lambda p: calls.append(p.round))
        errors = {
            "not joined": before,
            "reward": told(lambda: run(grpo(reward=Count(fails_at=0)))),
            "forward": told(lambda: run(grpo(world=Gone()))),
            "unsendable": told(lambda: distributed.together(fail if rank else dict)),
            "unsendable value": told(lambda: distributed.once(lambda: lambda: 0)),
            "start": told(lambda: run(other_start())),
        }
        torch.save({"result": result, "errors": errors, "calls": calls, "size": size}, f"{out}/{rank}.pt")


if __name__ == "__main__":
    main()
