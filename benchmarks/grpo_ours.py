"""Our arm of the GRPO benchmark: ``training.presets.online('grpo')`` and ``run``, as a user calls them, with a
stopwatch around the parts."""

import importlib
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

from benchmarks import grpo_task as task

SETTINGS: dict[str, Any] = {"threads": 2, "micro": None, "bf16": False}
"""Where the sweep begins. micro: rows of a forward pass with gradient (None: all). bf16: ``TextWorld(compute=…)``, as
the peer's bf16."""

TRIED = ({"threads": 1}, {"micro": 32}, {"bf16": True})


def arm(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The median step's seconds by stage. rows, where given: the peer's first step, taken instead of sampling; then the
    loss, gradient norm and reward of that step."""
    from guerdon.training import run

    stages = task.Stages()
    recipe = _recipe(settings, stages)
    with watched(recipe, stages):
        result = run(recipe, on_metrics=lambda _: stages.lap())
    first = result.history[0]
    told = {"loss": first["loss"], "grad_norm": first["grad_norm"], "reward": first["rewards/sum/mean"]}
    if "rows" in settings:
        return told
    if {first["completions/min_length"], first["completions/max_length"]} != {settings["tokens"]}:
        raise RuntimeError(f"Every response should have {settings['tokens']} tokens.")
    return {"median": _named(stages.median()), "least": stages.least(), "laps": stages.laps, **told}


def _recipe(settings: Mapping[str, Any], stages: task.Stages) -> Any:
    import torch

    from guerdon.training import BestKeeper, Every, KLController, Micro, Optim, Prompts
    from guerdon.training.presets import online
    from guerdon.worlds import Frozen, Sampling, Snapshots
    from guerdon.worlds.text import TextWorld

    model, tokenizer, prompts = task.load(settings["folder"])
    beta = settings["beta"]
    return online(
        "grpo",
        _replaying(model, tokenizer, settings["rows"])
        if "rows" in settings
        else TextWorld(model, tokenizer, compute=torch.bfloat16 if settings["bf16"] else None),
        Snapshots(model, reference=Frozen()) if beta else Snapshots(model),
        Prompts(prompts, settings["prompts"], seed=None),
        task.composed(stages),
        rounds=1 if "rows" in settings else task.WARM + settings["steps"],
        per_start=settings["per_start"],
        kl=beta,
        sampling=Sampling(limit=settings["tokens"], minimum=settings["tokens"]),
        optim=Optim(task.LR, fused=True),
        micro=Micro(rows=settings["micro"]),
        companions=(BestKeeper("rewards/sum/mean"), *((KLController(0.04, 6.0),) if beta else ())),
        evals=(Every(1, _HackWatch(), "watch"),),
    )


class _HackWatch:
    """Every sign of an exploited reward, read after every step."""

    def __init__(self) -> None:
        self.history: list[Mapping[str, float]] = []

    def __call__(self, round: Any) -> dict[str, float]:
        from guerdon.report.advice import signs

        self.history.append(dict(round.metrics))
        return {"bad": float(sum(s.bad for s in signs(self.history)))}


@contextmanager
def watched(recipe: Any, stages: task.Stages) -> Iterator[None]:
    """Within the block, the recipe's parts are timed: what samples, what re-scores without gradient, what shapes and
    combines, what audits; the reward's functions are timed where they are made."""
    import torch

    loop, updates = (importlib.import_module(f"guerdon.training.{name}") for name in ("run", "update"))
    world, (every,) = recipe.world, recipe.evals
    score, apart = world.rescore, stages.timed("re-scoring", world.rescore)
    parts = [
        (world, "sample", "generation"),
        (loop, "update", "update"),
        (recipe.reward, "score", "shaping"),
        (recipe.estimator, "call", "shaping"),
        (loop, "of_rollout", "audit"),
        (updates, "of_batch", "audit"),
        (every, "call", "audit"),
        *((companion, "after_round", "audit") for companion in recipe.companions),
    ]
    with ExitStack() as stack:
        world.rescore = lambda *a, **k: (score if torch.is_grad_enabled() else apart)(*a, **k)
        stack.callback(delattr, world, "rescore")
        for owner, name, stage in parts:
            before = getattr(owner, name)
            # Recipes are frozen so that nobody changes them by accident; this is on purpose.
            object.__setattr__(owner, name, stages.timed(stage, before))
            stack.callback(object.__setattr__, owner, name, before)
        yield


def _named(lap: Mapping[str, float]) -> dict[str, float]:
    """The loop's own work counts as update, as the trainer's does in the peer's arm."""
    names = ("generation", "re-scoring", "reward", "shaping", "audit")
    return {**dict.fromkeys(names, 0.0), **lap, "update": lap["update"] + lap["rest"]}


def _replaying(model: Any, tokenizer: Any, rows: list[list[list[int]]]) -> Any:
    """A world that gives these rows (prompts and responses, as ids) whatever is asked for."""
    from guerdon.worlds.text import TextWorld

    class Replaying(TextWorld):
        def sample(self, *_: Any, **__: Any) -> Any:
            return self.recorded(*rows)

    return Replaying(model, tokenizer)
