"""From files, ``--set a.b=c`` and flags to checked options, and back to the command line that says the same.

Works on the frozen dataclasses of ``guerdon.verbs.options``. Light on purpose: the command line reads it before torch
is loaded.
"""

import difflib
import json
import shlex
import types
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from guerdon.errors import GuerdonError

Options = TypeVar("Options")


def opt(
    default: Any,
    help: str,
    *flags: str,
    choices: Sequence[str] = (),
    least: float | None = None,
    above: float | None = None,
    below: float | None = None,
) -> Any:
    """A field of a schema. flags: its names on the command line; without any, a field of the verb itself is called by
    its own name, and one of a group is set with --set alone. choices, least, above, below: what values may be."""
    metadata = {"help": help, "flags": flags, "choices": choices, "least": least, "above": above, "below": below}
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Option:
    """One option of a verb: its dotted name, its flags (none: --set alone), kind, default, help, and what values may
    be ('at least 1', '' where anything of its kind may)."""

    name: str
    flags: tuple[str, ...]
    kind: Any
    default: Any
    help: str
    allowed: str = ""

    @property
    def parameter(self) -> str:
        """The name as an identifier."""
        return self.name.replace(".", "_")

    @property
    def plain_kind(self) -> type:
        """bool, int, float or str, without None."""
        return next(c for c in choices_of(self.kind) if c is not type(None))


def options_of(schema: type, where: str = "") -> Iterator[Option]:
    """Every option of a schema, those of its groups by dotted names."""
    hints = get_type_hints(schema)
    for f in fields(schema):  # type: ignore[arg-type,unused-ignore]
        kind = hints[f.name]
        if is_dataclass(kind):
            yield from options_of(kind, f"{where}{f.name}.")  # type: ignore[arg-type,unused-ignore]
            continue
        own = () if where or is_free(kind) else (f"--{f.name.replace('_', '-')}",)
        default = {} if is_free(kind) else None if f.default is MISSING else f.default
        flags = tuple(f.metadata.get("flags") or own)
        yield Option(where + f.name, flags, kind, default, f.metadata.get("help", ""), allowed(f.metadata))


def is_free(kind: Any) -> bool:
    """Whether a field holds options whose names the schema does not know (a method's hyperparameters)."""
    return get_origin(kind) is dict


def read_config(path: str | Path) -> dict[str, Any]:
    """A configuration file as nested mappings: YAML, TOML or JSON by its ending. Raises GuerdonError naming file and
    line."""
    path = Path(path)
    if not path.is_file():
        raise GuerdonError(f"{path} does not exist; --config needs a .yaml, .toml or .json file.")
    try:
        value = _parsed(path.suffix.lower(), path.read_text(encoding="utf-8"))
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
        put(out, name.strip().split("."), _value(value.strip()))
    return out


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return {"True": True, "False": False, "None": None}.get(text, text)


def put(tree: dict[str, Any], path: Sequence[str], value: Any) -> None:
    """Set a nested mapping's entry, making what lies above it."""
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


def nested(tree: Mapping[str, Any]) -> dict[str, Any]:
    """The same options with 'optim.lr' as a mapping in a mapping."""
    out: dict[str, Any] = {}
    for key, value in tree.items():
        path = key.split(".")
        put(out, path, merged(out.get(key, {}), value) if isinstance(value, Mapping) else value)
    return out


def build(schema: type[Options], tree: Mapping[str, Any]) -> Options:
    """Options from nested mappings; 'optim.lr' may also stand as one flat name.

    Raises GuerdonError for a name that does not exist (with the nearest one), a value of the wrong type or out of
    range.
    """
    options: Options = _build(schema, nested(tree), "")
    return options


def _build(schema: Any, tree: Mapping[str, Any], where: str) -> Any:
    hints, rules = get_type_hints(schema), {f.name: f.metadata for f in fields(schema)}
    given: dict[str, Any] = {}
    for key, value in tree.items():
        if key not in rules:
            known = [where + k for k in rules]
            raise unknown(
                f"{where}{key}", [*known, *(o.name for o in options_of(schema, where) if o.name not in known)]
            )
        kind = hints[key]
        if is_dataclass(kind):
            if not isinstance(value, Mapping):
                inner = ", ".join(f.name for f in fields(kind))
                raise GuerdonError(f"The option {where}{key} is a group; set one of its parts ({inner}).")
            given[key] = _build(kind, value, f"{where}{key}.")
        elif is_free(kind):
            if not isinstance(value, Mapping):
                raise GuerdonError(f"The option {where}{key} is a group; set its parts, as {where}{key}.name=value.")
            given[key] = dict(value)
        else:
            given[key] = _in_range(_coerced(value, kind, f"{where}{key}"), rules[key], f"{where}{key}")
    return schema(**given)


def unknown(name: str, known: Sequence[str]) -> GuerdonError:
    """The error for an option that does not exist, naming the nearest that does (by its last part too)."""
    near = difflib.get_close_matches(name, known, 1, 0.5)
    tails = [k for k in known if k.rsplit(".", 1)[-1] == name.rsplit(".", 1)[-1]]
    hint = f"; did you mean {(tails or near)[0]!r}?" if tails or near else f"; there are {', '.join(known)}."
    return GuerdonError(f"There is no option {name!r}{hint}")


def choices_of(kind: Any) -> tuple[Any, ...]:
    """The types a value may have."""
    return get_args(kind) if get_origin(kind) in (Union, types.UnionType) else (kind,)


def _coerced(value: Any, kind: Any, name: str) -> Any:
    choices = choices_of(kind)
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


def _in_range(value: Any, rule: Mapping[str, Any], name: str) -> Any:
    if value is None:
        return value
    choices, least, above, below = (rule.get(k) for k in ("choices", "least", "above", "below"))
    fine = not choices or value in choices
    fine = fine and (least is None or value >= least) and (above is None or value > above)
    if not (fine and (below is None or value < below)):
        raise GuerdonError(f"The option {name} must be {allowed(rule)}, but {value!r} came.")
    return value


def allowed(rule: Mapping[str, Any]) -> str:
    """The rule of a field in words: 'one of raise, skip', 'at least 0 and below 1', '' where it has none."""
    if rule.get("choices"):
        return f"one of {', '.join(rule['choices'])}"
    words = {"least": "at least", "above": "above", "below": "below"}
    return " and ".join(f"{word} {rule[k]}" for k, word in words.items() if rule.get(k) is not None)


def plain(options: Any) -> dict[str, Any]:
    """The options as nested mappings, for run.json."""
    return asdict(options)


def command_line(verb: str, arguments: Sequence[object], options: Any, out: object | None = None) -> str:
    """The command that gives these very options: what differs from the defaults, as flags and --set."""
    words = ["guerdon", verb, *(str(a) for a in arguments)]
    tree = plain(options)
    for option in options_of(type(options)):
        value: Any = tree
        for key in option.name.split("."):
            value = value[key]
        if value == option.default:
            continue
        if is_free(option.kind):
            words += [w for k, v in value.items() for w in ("--set", f"{option.name}.{k}={json.dumps(v)}")]
            continue
        long = next((f for f in option.flags if f.startswith("--")), None)
        if long is None or value is None:
            words += ["--set", f"{option.name}={json.dumps(value)}"]
        elif isinstance(value, bool):
            words.append(long if value else f"--no-{long.removeprefix('--')}")
        else:
            words += [long, str(value)]
    return shlex.join([*words, *([] if out is None else ["--out", str(out)])])
