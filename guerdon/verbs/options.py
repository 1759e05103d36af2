"""Every option of every verb, once: the schema behind flags, configuration files, ``--set a.b=c`` and keyword
arguments.

Light on purpose: the command line reads it before torch is loaded.
"""

import difflib
import json
import types
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from guerdon.errors import GuerdonError

METHODS = ("dpo", "ipo", "simpo", "rloo", "grpo", "remax")
ONLINE = ("rloo", "grpo", "remax")
SHAPINGS = ("none", "par")
COMBINATIONS = ("mean", "minimum", "mean_minus_std")


@dataclass(frozen=True)
class LoraOptions:
    """rank: 0 trains all weights. alpha: the update is scaled by alpha / rank. targets: which modules get an
    adapter."""

    rank: int = 0
    alpha: float = 16.0
    dropout: float = 0.0
    targets: str = "all-linear"


@dataclass(frozen=True)
class OptimOptions:
    """AdamW: lr (None: the verb's own default), warmup updates up to it, clip of the gradient norm."""

    lr: float | None = None
    weight_decay: float = 0.0
    warmup: int = 10
    clip: float = 1.0


@dataclass(frozen=True)
class SamplingOptions:
    """How responses are drawn: limit is the most tokens of a response."""

    temperature: float = 1.0
    top_p: float = 1.0
    limit: int = 64


@dataclass(frozen=True)
class RewardOptions:
    """``train-reward``. kind: 'scalar' trains the backbone with a head, 'embedding' a head on frozen vectors, 'auto'
    takes 'embedding' for minilm and 'scalar' elsewhere. members: size of the ensemble. held_out: share of the prompts
    kept for the evaluation (0: none). features: what is embedded, of response, prompt, product, difference, exchange,
    dialogue, joined by commas. hidden: width of a non-linear head on vectors. max_length: tokens of a row."""

    kind: str = "auto"
    members: int = 1
    epochs: int = 2
    batch: int = 32
    weight_decay: float = 0.01
    smoothing: float = 0.0
    bootstrap: bool | None = None
    hidden: int | None = None
    features: str = "response"
    max_length: int | None = None
    held_out: float = 0.1
    optim: OptimOptions = field(default_factory=OptimOptions)
    lora: LoraOptions = field(default_factory=LoraOptions)
    device: str = "cpu"
    dtype: str = "float32"
    seed: int = 0
    threads: int = 0


@dataclass(frozen=True)
class AlignOptions:
    """``align``. beta: DPO's and SimPO's scale. margin: SimPO's γ/β. kl: coefficient of the KL to the start in the
    online reward. epochs: passes over the pairs (offline). rounds: rounds of sampling (online). batch: pairs, or
    prompts, a round. per_prompt: responses a prompt (online). shaping, combine: what is done to the reward and to an
    ensemble's members. held_out: share of the prompts kept for evaluation. samples: prompts whose responses are shown
    before and after. micro: rows of one forward pass."""

    beta: float | None = None
    margin: float = 0.5
    smoothing: float = 0.0
    kl: float = 0.05
    epochs: int = 1
    rounds: int | None = None
    batch: int = 32
    per_prompt: int = 4
    micro: int | None = 16
    shaping: str = "none"
    combine: str = "mean"
    held_out: float = 0.1
    samples: int = 8
    save_every: int = 10
    eval_every: int = 0
    optim: OptimOptions = field(default_factory=OptimOptions)
    sampling: SamplingOptions = field(default_factory=SamplingOptions)
    lora: LoraOptions = field(default_factory=LoraOptions)
    device: str = "cpu"
    dtype: str = "float32"
    seed: int = 0
    threads: int = 0


Options = TypeVar("Options", RewardOptions, AlignOptions)


def read_config(path: str | Path) -> dict[str, Any]:
    """A configuration file as nested mappings: YAML, TOML or JSON by its ending. Raises GuerdonError naming file and
    line."""
    path = Path(path)
    if not path.is_file():
        raise GuerdonError(f"{path} does not exist; --config needs a .yaml, .toml or .json file.")
    text = path.read_text(encoding="utf-8")
    try:
        value = _parsed(path.suffix.lower(), text)
    except ValueError as error:
        raise GuerdonError(f"{path} cannot be read: {' '.join(str(error).split())}; mend the file.") from error
    if not isinstance(value, dict):
        raise GuerdonError(f"{path} must hold options by name, but holds a {type(value).__name__}.")
    return value


def _parsed(suffix: str, text: str) -> Any:
    if suffix == ".json":
        return json.loads(text)
    if suffix == ".toml":
        import tomllib

        return tomllib.loads(text)
    if suffix in (".yaml", ".yml"):
        import yaml  # type: ignore[import-untyped,unused-ignore]

        try:
            return yaml.safe_load(text) or {}
        except yaml.YAMLError as error:
            raise ValueError(str(error)) from error
    raise ValueError(f"the ending must be .yaml, .toml or .json, but is {suffix!r}")


def assignments(sets: Sequence[str]) -> dict[str, Any]:
    """Nested mappings from 'a.b=c' texts; values are JSON where they can be (1e-3, true, null, "x"), else the text
    itself."""
    out: dict[str, Any] = {}
    for item in sets:
        name, equals, value = item.partition("=")
        if not equals or not name.strip():
            raise GuerdonError(f"--set expects name=value, for instance optim.lr=1e-4, but {item!r} came.")
        _put(out, name.strip().split("."), _value(value.strip()))
    return out


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return {"True": True, "False": False, "None": None}.get(text, text)


def _put(tree: dict[str, Any], path: Sequence[str], value: Any) -> None:
    here = tree
    for key in path[:-1]:
        here = here.setdefault(key, {})
        if not isinstance(here, dict):
            raise GuerdonError(f"--set {'.'.join(path)}: {key!r} is a value already and has no options below it.")
    here[path[-1]] = value


def merged(*trees: Mapping[str, Any]) -> dict[str, Any]:
    """Nested mappings, later ones winning."""
    out: dict[str, Any] = {}
    for tree in trees:
        for key, value in tree.items():
            inner = out.get(key)
            out[key] = merged(inner, value) if isinstance(value, Mapping) and isinstance(inner, Mapping) else value
    return out


def build(schema: type[Options], tree: Mapping[str, Any]) -> Options:
    """Options from nested mappings; 'optim.lr' may also stand as one flat name.

    Raises GuerdonError for a name that does not exist (with the nearest one), a value of the wrong type or out of
    range.
    """
    nested: dict[str, Any] = {}
    for key, value in tree.items():
        _put(nested, key.split("."), merged(nested.get(key, {}), value) if isinstance(value, Mapping) else value)
    options: Options = _build(schema, nested, "")
    _check(options)
    return options


def _build(schema: Any, tree: Mapping[str, Any], where: str) -> Any:
    hints = get_type_hints(schema)
    known = [f.name for f in fields(schema)]
    given: dict[str, Any] = {}
    for key, value in tree.items():
        if key not in hints:
            raise unknown(f"{where}{key}", [*(where + k for k in known), *_leaves(schema, where)])
        kind = hints[key]
        if is_dataclass(kind):
            if not isinstance(value, Mapping):
                inner = ", ".join(f.name for f in fields(kind))
                raise GuerdonError(f"The option {where}{key} is a group; set one of its parts ({inner}).")
            given[key] = _build(kind, value, f"{where}{key}.")
        else:
            given[key] = _coerced(value, kind, f"{where}{key}")
    return schema(**given)


def _leaves(schema: Any, where: str) -> list[str]:
    hints = get_type_hints(schema)
    return [f"{where}{g}.{f.name}" for g, kind in hints.items() if is_dataclass(kind) for f in fields(kind)]


def unknown(name: str, known: Sequence[str]) -> GuerdonError:
    """The error for an option that does not exist, naming the nearest that does (by its last part too)."""
    near = difflib.get_close_matches(name, known, 1, 0.5)
    tails = [k for k in known if k.rsplit(".", 1)[-1] == name.rsplit(".", 1)[-1]]
    hint = f"; did you mean {(tails or near)[0]!r}?" if tails or near else f"; there are {', '.join(known)}."
    return GuerdonError(f"There is no option {name!r}{hint}")


def _coerced(value: Any, kind: Any, name: str) -> Any:
    choices = get_args(kind) if get_origin(kind) in (Union, types.UnionType) else (kind,)
    if value is None and type(None) in choices:
        return None
    for choice in choices:
        if choice is bool and isinstance(value, bool):
            return value
        if choice is int and isinstance(value, int) and not isinstance(value, bool):
            return value
        if choice is float and isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
        if choice is float and isinstance(value, str) and _number(value) is not None:
            return _number(value)  # YAML reads 1e-4 as text
        if choice is str and isinstance(value, str):
            return value
    wanted = " or ".join("nothing" if c is type(None) else c.__name__ for c in choices)
    raise GuerdonError(f"The option {name} must be {wanted}, but {value!r} came.")


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _check(options: RewardOptions | AlignOptions) -> None:
    def need(fine: bool, name: str, rule: str, value: Any) -> None:
        if not fine:
            raise GuerdonError(f"The option {name} must be {rule}, but {value!r} came.")

    need(0 <= options.held_out < 1, "held_out", "a share in [0, 1)", options.held_out)
    need(options.batch >= 1, "batch", "at least 1", options.batch)
    need(options.epochs >= 1, "epochs", "at least 1", options.epochs)
    need(options.lora.rank >= 0, "lora.rank", "at least 0", options.lora.rank)
    need(options.threads >= 0, "threads", "at least 0", options.threads)
    need(options.optim.lr is None or options.optim.lr > 0, "optim.lr", "above 0", options.optim.lr)
    if isinstance(options, RewardOptions):
        need(options.kind in ("auto", "scalar", "embedding"), "kind", "auto, scalar or embedding", options.kind)
        need(options.members >= 1, "members", "at least 1", options.members)
    else:
        need(options.shaping in SHAPINGS, "shaping", f"one of {', '.join(SHAPINGS)}", options.shaping)
        need(options.combine in COMBINATIONS, "combine", f"one of {', '.join(COMBINATIONS)}", options.combine)
        need(options.per_prompt >= 1, "per_prompt", "at least 1", options.per_prompt)
        need(options.rounds is None or options.rounds >= 1, "rounds", "at least 1", options.rounds)
        need(options.beta is None or options.beta > 0, "beta", "above 0", options.beta)


def plain(options: RewardOptions | AlignOptions) -> dict[str, Any]:
    """The options as nested mappings, for run.json."""
    return asdict(options)
