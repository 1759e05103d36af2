"""Named parameters of one module: the live policy, and copies of it that each follow a rule."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from guerdon.errors import GuerdonError, NeedsError

LIVE = "policy"
Parameters = dict[str, Tensor]


@dataclass(frozen=True)
class Frozen:
    """Keeps what it was when it was added; ``Snapshots.capture`` replaces it by hand ('old' before a round)."""


@dataclass(frozen=True)
class CopyEvery:
    """Becomes the live policy whenever ``step % k == 0`` (TR-DPO hard update, iterative references)."""

    k: int

    def __post_init__(self) -> None:
        if self.k < 1:
            raise GuerdonError(f"CopyEvery.k must be at least 1 step, but {self.k} came.")


@dataclass(frozen=True)
class EMA:
    """θ ← d·θ + (1 − d)·θ_live whenever ``step % every == 0``; ``decay`` is d or a function of the step. Kept in
    float32."""

    decay: float | Callable[[int], float]
    every: int = 1

    def at(self, step: int) -> float:
        """The decay at a step. Raises GuerdonError outside [0, 1]."""
        d = self.decay(step) if callable(self.decay) else self.decay
        if not 0 <= d <= 1:
            raise GuerdonError(f"EMA.decay must lie in [0, 1], but is {d} at step {step}.")
        return d


@dataclass(frozen=True)
class Extrapolate:
    """θ_a + coefficient·(θ_b − θ_a), made anew at every use: 0 is a, 1 is b, above 1 goes past b (ExPO), between
    interpolates."""

    a: str
    b: str
    coefficient: float


@dataclass(frozen=True)
class AdapterOff:
    """The live module with its adapters disabled (peft): the reference of a LoRA policy without a copy."""


@dataclass(frozen=True)
class History:
    """A pool of past policies: a copy whenever ``step % every == 0``, the newest ``keep`` kept. Added as 'history'
    they are read as 'history/0' (the newest), 'history/1', …; reading one that is not there yet raises NeedsError."""

    every: int
    keep: int


Rule = Frozen | CopyEvery | EMA | Extrapolate | AdapterOff | History


class Snapshots:
    """Named parameters of one module: 'policy' is the live module, every other name follows its rule.

    Only parameters that require gradient when a name is added are copied (with LoRA, the adapters alone); the others
    are shared with the live module. Buffers are shared. Copies never alias the live tensors.

    >>> snapshots = Snapshots(model, reference=Frozen(), old=Frozen(), ema=EMA(0.99))
    >>> with snapshots.using("reference") as module: ...
    """

    def __init__(self, module: nn.Module, **rules: Rule) -> None:
        self.module = module
        self._rules: dict[str, Rule] = {}
        self._stored: dict[str, Parameters] = {}
        self._step: dict[str, int] = {LIVE: 0}
        for name, rule in rules.items():
            self.add(name, rule)

    def add(self, name: str, rule: Rule) -> None:
        """Start the snapshot ``name`` from the live policy. Raises GuerdonError on 'policy', a '/' or a name that is
        taken."""
        if name == LIVE or name in self._rules or "/" in name:
            raise GuerdonError(f"A snapshot needs a new name without '/', but {name!r} came; there are {self.names()}.")
        if isinstance(rule, AdapterOff) and not hasattr(self.module, "disable_adapter"):
            raise GuerdonError(
                f"The snapshot {name!r} switches adapters off, but the {type(self.module).__name__} has none; "
                "use Frozen()."
            )
        if isinstance(rule, Extrapolate):
            for other in (rule.a, rule.b):
                self._check(other)
        self._rules[name] = rule
        self._step[name] = self._step[LIVE]
        if isinstance(rule, Frozen | CopyEvery | EMA):
            self.capture(name)

    def names(self) -> tuple[str, ...]:
        """Every name that can be used now, 'policy' first."""
        made = [n for n, rule in self._rules.items() if not isinstance(rule, History)]
        return (LIVE, *made, *(n for n in self._stored if "/" in n))

    def __contains__(self, name: object) -> bool:
        return name in self.names()

    def rule(self, name: str) -> Rule | None:
        """What ``name`` follows; None for the live policy and for the members of a history."""
        self._check(name)
        return self._rules.get(name)

    def version(self, name: str) -> str:
        """Which state of ``name`` this is: its name and the step of its last change, 'reference@0', 'ema@120'."""
        self._check(name)
        rule = self._rules.get(name)
        if isinstance(rule, Extrapolate):
            return f"{name}@{max(int(self.version(n).rpartition('@')[2]) for n in (rule.a, rule.b))}"
        return f"{name}@{self._step[name]}"

    def versions(self) -> dict[str, str]:
        """name -> version of every name that can be used now."""
        return {name: self.version(name) for name in self.names()}

    def capture(self, name: str) -> None:
        """Make ``name`` (any stored snapshot) equal to the live policy now."""
        self._check(name)
        rule = self._rules.get(name)
        if not isinstance(rule, Frozen | CopyEvery | EMA):
            raise GuerdonError(f"The snapshot {name!r} holds no parameters of its own, so it cannot be captured.")
        self._stored[name] = _copy(self.module, torch.float32 if isinstance(rule, EMA) else None)
        self._step[name] = self._step[LIVE]

    def put(self, name: str, parameters: Mapping[str, Tensor]) -> None:
        """Make the stored snapshot ``name`` these parameters (of another model of the same shape), copied.

        Raises GuerdonError unless every parameter that it holds is there in the same shape.
        """
        self._check(name)
        held = self._stored.get(name)
        if held is None:
            raise GuerdonError(f"The snapshot {name!r} holds no parameters of its own, so none can be put there.")
        for key, x in held.items():
            if key not in parameters or parameters[key].shape != x.shape:
                came = list(parameters[key].shape) if key in parameters else "nothing"
                raise GuerdonError(f"The snapshot {name!r} needs {key} of shape {list(x.shape)}, but {came} came.")
        self._stored[name] = {key: parameters[key].detach().clone().to(x) for key, x in held.items()}
        self._step[name] = self._step[LIVE]

    def refresh(self, step: int) -> None:
        """Tell every rule that the policy has taken ``step`` updates in all. Call once after each update."""
        self._step[LIVE] = step
        for name, rule in self._rules.items():
            if isinstance(rule, CopyEvery) and step % rule.k == 0:
                self.capture(name)
            elif isinstance(rule, EMA) and step % rule.every == 0:
                live = dict(self.module.named_parameters())
                for key, kept in self._stored[name].items():
                    kept.lerp_(live[key].detach().to(kept), 1 - rule.at(step))
                self._step[name] = step
            elif isinstance(rule, History) and step % rule.every == 0:
                for k in range(rule.keep - 1, 0, -1):
                    if (newer := f"{name}/{k - 1}") in self._stored:
                        self._stored[f"{name}/{k}"] = self._stored[newer]
                        self._step[f"{name}/{k}"] = self._step[newer]
                self._stored[f"{name}/0"] = _copy(self.module)
                self._step[f"{name}/0"] = step

    def parameters(self, name: str) -> Parameters:
        """Parameters of ``name`` by their name in the module, detached; read only. Raises NeedsError where the name
        is unknown."""
        self._check(name)
        rule = self._rules.get(name)
        if isinstance(rule, Extrapolate):
            a, b = self.parameters(rule.a), self.parameters(rule.b)
            return {k: torch.lerp(a[k].float(), b[k].float(), rule.coefficient) for k in a if k in b}
        if name in self._stored:
            return self._stored[name]
        return {k: p.detach() for k, p in self.module.named_parameters() if p.requires_grad}

    @contextmanager
    def using(self, name: str, train: bool = False) -> Iterator[nn.Module]:
        """The module with the parameters of ``name`` inside the block; afterwards it is exactly what it was.

        Dropout is off unless ``train``. Gradients reach the live parameters for 'policy' alone. One block at a time
        per module.
        """
        self._check(name)
        modes = [(m, m.training) for m in self.module.modules()]
        self.module.train(train)
        try:
            if name == LIVE:
                yield self.module
            elif isinstance(self._rules.get(name), AdapterOff):
                with _adapters_off(self.module):
                    yield self.module
            else:
                with _swapped(self.module, self.parameters(name)):
                    yield self.module
        finally:
            for m, mode in modes:
                m.training = mode

    def state_dict(self) -> dict[str, Tensor]:
        """Everything stored, as tensors alone (the live module is saved by its owner): 'name:parameter' and
        'name:@step'."""
        held = {f"{name}:{key}": x for name, stored in self._stored.items() for key, x in stored.items()}
        return {**held, **{f"{name}:@step": torch.tensor(step) for name, step in self._step.items()}}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take up what ``state_dict`` saved, bit for bit. Raises GuerdonError where names and rules differ."""
        stored: dict[str, Parameters] = {}
        step: dict[str, int] = {}
        device = {k: p.device for k, p in self.module.named_parameters()}
        for path, x in state.items():
            name, _, key = path.partition(":")
            if key == "@step":
                step[name] = int(x)
            else:
                stored.setdefault(name, {})[key] = x.detach().clone().to(device.get(key, x.device))
        here = {LIVE, *self._rules}
        saved = {name for name in step if "/" not in name}
        if here != saved:
            raise GuerdonError(f"The saved snapshots are {sorted(saved)}, but these are {sorted(here)}.")
        self._stored, self._step = stored, step

    def _check(self, name: str) -> None:
        if name not in self:
            raise NeedsError(f"There is no snapshot {name!r}; there are {sorted(self.names())}.")


# One actor, or several by name.
Actors = Snapshots | Mapping[str, Snapshots]


def only(actors: Actors) -> Snapshots:
    """The single actor of a world that has one. Raises GuerdonError where several came."""
    if isinstance(actors, Snapshots):
        return actors
    if len(actors) != 1:
        raise GuerdonError(f"This world has one actor, but {sorted(actors)} came.")
    return next(iter(actors.values()))


def _copy(module: nn.Module, dtype: torch.dtype | None = None) -> Parameters:
    # clone, not cpu() or to(): either may hand back the live tensor itself.
    return {
        k: p.detach().clone().to(dtype if dtype is not None and p.is_floating_point() else p.dtype)
        for k, p in module.named_parameters()
        if p.requires_grad
    }


@contextmanager
def _swapped(module: nn.Module, parameters: Parameters) -> Iterator[None]:
    """Put other tensors in the place of parameters, tied names included, and put the very same objects back."""
    by_id = {id(p): k for k, p in module.named_parameters()}
    slots = [(m, n, p) for m in module.modules() for n, p in m._parameters.items() if p is not None]
    cast: dict[str, nn.Parameter] = {}
    try:
        for m, n, p in slots:
            key = by_id[id(p)]
            if key in parameters:
                if key not in cast:
                    cast[key] = nn.Parameter(parameters[key].to(p.device, p.dtype), requires_grad=False)
                m._parameters[n] = cast[key]
        yield
    finally:
        for m, n, p in slots:
            m._parameters[n] = p


@contextmanager
def _adapters_off(module: nn.Module) -> Iterator[None]:
    """peft's own switch also turns requires_grad off; the flags are put back as they were."""
    flags = [(p, p.requires_grad) for p in module.parameters()]
    try:
        with module.disable_adapter():  # type: ignore[operator]
            yield
    finally:
        for p, flag in flags:
            p.requires_grad_(flag)
