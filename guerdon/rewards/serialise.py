"""Graphs as JSON: nodes by kind, everything else as ``module:object`` and arguments.

A stored graph names code that is imported when it is read: read only graphs you trust. What is named must be a reward,
a plain Python function, a dataclass, or a function that a ``spec()`` method named.
"""

import dataclasses
import importlib
import json
import types
from collections.abc import Callable, Mapping
from typing import Any

from guerdon.errors import GuerdonError
from guerdon.rewards import arithmetic, channelwise, conditions, dispatching
from guerdon.rewards.functions import FunctionReward
from guerdon.rewards.graph import Leaf, Node, as_node
from guerdon.rewards.interface import Reward

NODES: Mapping[str, type[Node]] = {
    "sum": arithmetic.Sum,
    "product": arithmetic.Product,
    "extreme": arithmetic.Extreme,
    "scheduled": arithmetic.Scheduled,
    "pipe": channelwise.Pipe,
    "combined": channelwise.Combined,
    "gather": channelwise.Gather,
    "renamed": channelwise.Renamed,
    "gate": conditions.Gate,
    "condition": conditions.Condition,
    "constrained": conditions.Constrained,
    "dispatch": dispatching.Dispatch,
}
KINDS = {cls: kind for kind, cls in NODES.items()}


def to_dict(reward: Reward) -> dict[str, Any]:
    """The graph as JSON values. Raises GuerdonError naming what cannot be written (closures, lambdas, models in
    memory)."""
    return _write(as_node(reward))


def from_dict(data: Mapping[str, Any]) -> Node:
    """The graph ``to_dict`` wrote; equal leaves become one object, so that each is scored once."""
    return as_node(_read(data, {}))


def dumps(reward: Reward) -> str:
    """The graph as JSON text."""
    return json.dumps(to_dict(reward), indent=1, allow_nan=False)


def loads(text: str) -> Node:
    """The graph from JSON text. Raises GuerdonError where it is not one."""
    try:
        return from_dict(json.loads(text))
    except json.JSONDecodeError as error:
        raise GuerdonError(f"A reward graph is JSON, but line {error.lineno} is not: {error.msg}.") from error


def path_of(thing: Callable[..., Any] | type) -> str:
    """'module:qualified.name' of something that can be imported again. Raises GuerdonError for lambdas and closures."""
    name = getattr(thing, "__qualname__", None)
    module = getattr(thing, "__module__", None)
    if not name or not module:
        raise GuerdonError(
            f"{thing!r} has no import path, so it cannot be stored; give a module-level function or a dataclass."
        )
    if "<locals>" in name or "<lambda>" in name:
        raise GuerdonError(
            f"{module}.{name} is a closure or lambda and cannot be stored; move it to the top level of a module."
        )
    return f"{module}:{name}"


def locate(path: str) -> Any:
    """The object at 'module:qualified.name'. Raises GuerdonError where there is none."""
    module, _, name = path.partition(":")
    try:
        here: Any = importlib.import_module(module)
        for part in name.split("."):
            here = getattr(here, part)
    except (ImportError, AttributeError) as error:
        raise GuerdonError(f"{path!r} was expected to name an importable object, but: {error}.") from error
    return here


def rebuild_function(path: str, options: Mapping[str, Any]) -> FunctionReward:
    """A function reward from where its function stands."""
    found = locate(path)
    return FunctionReward(found.function if isinstance(found, FunctionReward) else found, **options)


def _write(x: Any) -> Any:
    if x is None or isinstance(x, bool | int | float | str):
        return x
    if isinstance(x, Leaf):
        return _write(x.reward)
    if type(x) in KINDS:
        return {"node": KINDS[type(x)], **{f.name: _write(getattr(x, f.name)) for f in dataclasses.fields(x)}}
    if isinstance(x, FunctionReward):
        return {"function": path_of(x.function), "options": x.options()}
    if hasattr(x, "spec") and not isinstance(x, type):
        path, arguments = x.spec()
        return {"object": path, "arguments": _write(arguments)}
    if dataclasses.is_dataclass(x) and not isinstance(x, type):
        given = {f.name: _write(getattr(x, f.name)) for f in dataclasses.fields(x) if f.init}
        return {"object": path_of(type(x)), "arguments": {"mapping": [[k, v] for k, v in given.items()]}}
    if isinstance(x, tuple | list):
        return {"tuple" if isinstance(x, tuple) else "list": [_write(v) for v in x]}
    if isinstance(x, Mapping):
        return {"mapping": [[_write(k), _write(v)] for k, v in x.items()]}
    if isinstance(x, types.FunctionType):
        return {"object": path_of(x)}
    raise GuerdonError(
        f"A {type(x).__name__} cannot be stored in a reward graph; use module-level functions and dataclasses."
    )


def _read(x: Any, seen: dict[str, Any]) -> Any:
    if not isinstance(x, Mapping):
        return x
    if "tuple" in x:
        return tuple(_read(v, seen) for v in x["tuple"])
    if "list" in x:
        return [_read(v, seen) for v in x["list"]]
    if "mapping" in x:
        return {_read(k, seen): _read(v, seen) for k, v in x["mapping"]}
    key = json.dumps(x, sort_keys=True)
    if key not in seen:
        seen[key] = _build(x, seen)
    return seen[key]


def _build(x: Mapping[str, Any], seen: dict[str, Any]) -> Any:
    if "node" in x:
        if x["node"] not in NODES:
            raise GuerdonError(f"A reward graph has nodes {sorted(NODES)}, but {x['node']!r} came.")
        fields = {k: _node_field(_read(v, seen)) for k, v in x.items() if k != "node"}
        return NODES[x["node"]](**fields)
    if "function" in x:
        found = locate(x["function"])
        if isinstance(found, FunctionReward) and found.options() == x["options"]:
            return found
        return rebuild_function(x["function"], x["options"])
    if "object" in x:
        found = locate(x["object"])
        if "arguments" not in x:
            if not isinstance(found, types.FunctionType):
                raise GuerdonError(
                    f"{x['object']!r} was expected to be a plain function, but is a {type(found).__name__}."
                )
            return found
        if not (dataclasses.is_dataclass(found) or isinstance(found, types.FunctionType)):
            raise GuerdonError(f"{x['object']!r} was expected to be a dataclass or a function, but is {found!r}.")
        make: Any = found
        return make(**_read(x["arguments"], seen))
    raise GuerdonError(f"A reward graph holds 'node', 'function' or 'object' entries, but {sorted(x)} came.")


def _node_field(x: Any) -> Any:
    """Rewards inside a node's fields are nodes; transforms, combinations and numbers stay what they are."""
    if isinstance(x, Reward):
        return as_node(x)
    if isinstance(x, tuple):
        return tuple(_node_field(v) for v in x)
    if isinstance(x, dict):
        return {k: _node_field(v) for k, v in x.items()}
    return x
