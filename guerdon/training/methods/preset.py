"""What a preset is, and how it becomes a recipe."""

import copy
import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from torch import nn

from guerdon.batch import Preference
from guerdon.errors import GuerdonError
from guerdon.objectives import Objective
from guerdon.training.builds import whole
from guerdon.training.companions import Companion
from guerdon.training.recipe import Build, Estimator, Recipe, plain
from guerdon.worlds.interface import Sampling, World
from guerdon.worlds.snapshots import LIVE, Actors, CopyEvery, Frozen, Rule

READS = ("pairs", "scored", "lists", "unpaired", "rewritten", "prompts")
"""What a method learns from. pairs: comparisons. scored: comparisons whose records have scores; the rows' column
'score' carries them. lists: all responses of a prompt with their scores (``Batch.lists``). unpaired: labelled single
rows with mismatched ones (``training.Unpaired``). rewritten: pairs with the rows in which one response answers a
request to improve the other (``Batch.lists`` of six roles). prompts: nothing recorded; the method samples."""


def frozen() -> Mapping[str, Rule]:
    """The start policy as 'reference'."""
    return {"reference": Frozen()}


def stretch(parts: int, updates: int) -> int:
    """Updates of one of ``parts`` equal stretches of a run, at least 1."""
    return max(1, math.ceil(updates / max(1, parts)))


def iterated(iterations: int = 3, updates: int = 1) -> Mapping[str, Rule]:
    """The policy at the start of the iteration as 'reference'; a run has ``iterations`` of equal length."""
    return {"reference": CopyEvery(stretch(iterations, updates))}


def only_policy() -> Mapping[str, Rule]:
    """No snapshot beside the policy."""
    return {}


def alone() -> tuple[Companion, ...]:
    """Nothing learns beside the policy."""
    return ()


def headless() -> tuple[str, ...]:
    """No head is learned on the policy's states."""
    return ()


@dataclass(frozen=True)
class Preset:
    """A published method as one choice of parts.

    Every keyword of ``objective``, ``rules``, ``records``, ``estimator``, ``build`` and ``companions`` is a
    hyperparameter of the method, its default the paper's; functions that name the same keyword share its value. One
    called ``updates`` is given the number of updates of the run instead (schedules).

    name: as ``guerdon align --method`` knows it. paper: 'Rafailov et al. 2023, arXiv 2305.18290'. objective: gives the
    objective, or a function of the number of updates done. reads: one of ``READS``. rules: gives the snapshots beside
    the policy. records: what is done to the preference records first (order, relabelling, selection); ordered: they
    are then visited in their order. estimator, build, companions, also: for methods that sample (also: further
    fields of the Recipe, as per_start). heads: names of value heads, linear in the policy's states and 0 at the
    start, that are trained with the policy and dropped with the run. sampler: the snapshot that draws, where it is
    not the live policy. needs: what the user must give beside the records: 'reward', 'guide' (a policy that was
    aligned before). card: number of the founding list, None where the method has no entry in the catalogue.
    protects: what it guards against, for the reader who chooses. checks: tests that hold its published values
    ('tests/objectives/test_x.py::test_y').
    """

    name: str
    paper: str
    objective: Callable[..., Objective | Callable[[int], Objective]]
    reads: str = "pairs"
    rules: Callable[..., Mapping[str, Rule]] = frozen
    records: Callable[..., Sequence[Preference]] | None = None
    ordered: bool = False
    estimator: Callable[..., Estimator] = plain
    build: Callable[..., Build] = whole
    companions: Callable[..., tuple[Companion, ...]] = alone
    heads: Callable[..., tuple[str, ...]] = headless
    sampler: str = LIVE
    also: Mapping[str, Any] = field(default_factory=dict)
    needs: tuple[str, ...] = ()
    card: int | None = None
    protects: str = ""
    checks: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.reads not in READS:
            raise GuerdonError(f"Preset.reads must be one of {', '.join(READS)}, but {self.reads!r} came.")

    @property
    def online(self) -> bool:
        """Whether it samples."""
        return self.reads == "prompts"

    def hyper(self) -> dict[str, Any]:
        """Hyperparameter -> default."""
        own = (self.objective, self.rules, self.estimator, self.build, self.companions, self.heads)
        parts = (*own, *((self.records,) if self.records else ()))
        found: dict[str, Any] = {}
        for part in parts:
            for name, p in inspect.signature(part).parameters.items():
                if p.default is not p.empty and name != "updates":
                    found.setdefault(name, p.default)
        return found

    def settings(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """All hyperparameters, ``given`` winning over the defaults; a given None is the default.

        Raises GuerdonError for a name that the method does not have, or a value of another kind than the default's.
        """
        known = self.hyper()
        for name, value in given.items():
            if name not in known:
                raise GuerdonError(
                    f"The method {self.name} has no hyperparameter {name!r}; it has {', '.join(known) or 'none'}."
                )
            if value is not None and known[name] is not None and not _fits(value, type(known[name])):
                kind = type(known[name]).__name__
                raise GuerdonError(f"The hyperparameter {name} of {self.name} must be a {kind}, but {value!r} came.")
        return {**known, **{k: v for k, v in given.items() if v is not None}}

    def called(self, part: Callable[..., Any], settings: Mapping[str, Any], updates: int = 1, *args: Any) -> Any:
        """One of the preset's functions with its share of ``settings``."""
        asked = inspect.signature(part).parameters
        own = {k: v for k, v in {**settings, "updates": updates}.items() if k in asked}
        return part(*args, **own)

    def recipe(
        self,
        world: World,
        snapshots: Actors,
        source: Any,
        rounds: int,
        hyper: Mapping[str, Any] | None = None,
        **fields: Any,
    ) -> Recipe:
        """The recipe with these hyperparameters; fields: the rest of the Recipe (optim, seed, reward, …), winning over
        the preset's own."""
        settings = self.settings(hyper or {})
        build = self.called(self.build, settings, rounds)
        own = {
            "objective": self.called(self.objective, settings, rounds * build.updates),
            "estimator": self.called(self.estimator, settings, rounds),
            "build": build,
            "companions": self.called(self.companions, settings, rounds * build.updates),
            **self.also,
            **fields,
        }
        if names := self.called(self.heads, settings, rounds):
            world, own["modules"] = _with_heads(world, names)
        if self.sampler != LIVE:
            own["sampling"] = replace(own.get("sampling", Sampling()), snapshot=self.sampler)
        return Recipe(world, snapshots, source, rounds=rounds, **own)


def _fits(value: Any, kind: type) -> bool:
    """Whether a value may stand where the default is of ``kind``: a whole number where it is a float, no bool where it
    is a number."""
    number = int | float if kind is float else kind
    return isinstance(value, number) and isinstance(value, bool) == (kind is bool)


def _with_heads(world: Any, names: Sequence[str]) -> tuple[Any, Mapping[str, nn.Module]]:
    """The world with further value heads, and the heads. Raises GuerdonError where the world's policy has no states."""
    model = getattr(world, "model", None)
    if model is None or not hasattr(world, "value_heads"):
        raise GuerdonError(f"The method learns heads on a model's states, but {type(world).__name__} has no model.")
    weight = next(model.parameters())
    heads = {name: nn.Linear(model.config.hidden_size, 1, device=weight.device) for name in names}
    for head in heads.values():
        nn.init.zeros_(head.weight)
        nn.init.zeros_(head.bias)
    other = copy.copy(world)
    other.value_heads = {**world.value_heads, **heads}
    return other, heads
