"""Atomic checkpoints: tensors as safetensors, everything else as JSON, nothing pickled.

A checkpoint is a folder ``round-00000012`` with ``tensors.safetensors`` and ``state.json``. It is written under a
hidden name, brought to disk, and only then renamed, so that what a kill leaves behind is never taken for a checkpoint;
the names say which is the newest.
"""

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from guerdon.errors import DataError, GuerdonError

VERSION = 1
PREFIX = "round-"


def save(folder: Path, round: int, state: Mapping[str, Any], keep: int = 2) -> Path:
    """Write ``state`` (nested mappings and lists of tensors, numbers, strings, bools, None) as the newest checkpoint;
    keep ``keep``.

    Raises GuerdonError where it cannot be written (full disk, no permission); earlier checkpoints stay as they were.
    """
    if keep < 1:
        raise GuerdonError(f"save(keep=…) must be at least 1, but {keep} came.")
    final = folder / f"{PREFIX}{round:08d}"
    hidden = folder / f".{final.name}.tmp"
    if final.exists():  # a run is a function of its recipe, so the same round of it has been saved already
        return final
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _clear(hidden)
        hidden.mkdir()
        write_state(hidden, state)
        _sync(hidden)
        os.rename(hidden, final)
        _sync(folder)
    except OSError as error:
        shutil.rmtree(hidden, ignore_errors=True)
        raise GuerdonError(
            f"The checkpoint of round {round} could not be written to {folder} ({error.strerror or error}); "
            "earlier ones are intact. Free space or name another folder, then run again to resume."
        ) from error
    for old in _complete(folder)[:-keep]:
        shutil.rmtree(old, ignore_errors=True)
    return final


def latest(folder: Path) -> Path | None:
    """The newest whole checkpoint, or None."""
    complete = _complete(folder)
    return complete[-1] if complete else None


def load(checkpoint: Path) -> dict[str, Any]:
    """The state that ``save`` was given, tensors on the CPU. Raises DataError where a file is missing or broken."""
    return read_state(checkpoint)


def write_state(folder: Path, state: Mapping[str, Any]) -> None:
    """``tensors.safetensors`` and ``state.json`` in an existing folder, both brought to disk."""
    from safetensors.torch import save as encode

    tensors: dict[str, Tensor] = {}
    tree = _strip(state, "", tensors)
    _write(folder / "tensors.safetensors", encode(tensors))
    _write(folder / "state.json", json.dumps({"version": VERSION, "state": tree}).encode())


def read_state(folder: Path) -> dict[str, Any]:
    """What ``write_state`` wrote."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors = load_file(folder / "tensors.safetensors")
        held = json.loads((folder / "state.json").read_text(encoding="utf-8"))
    except (OSError, SafetensorError, json.JSONDecodeError) as error:
        raise DataError(
            f"The checkpoint {folder} cannot be read ({error}); remove this folder to fall back on the one before it."
        ) from error
    if held.get("version") != VERSION:
        raise DataError(
            f"The checkpoint {folder} has format {held.get('version')!r}, but this version reads {VERSION}."
        )
    filled: dict[str, Any] = _fill(held["state"], tensors)
    return filled


def _complete(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(p for p in folder.iterdir() if p.name.startswith(PREFIX) and (p / "state.json").exists())


def _strip(x: Any, path: str, tensors: dict[str, Tensor]) -> Any:
    """The JSON tree of a state; tensors are moved to ``tensors`` and leave their path."""
    if isinstance(x, Tensor):
        tensors[path] = x.detach().cpu().contiguous().clone()
        return {"tensor": path}
    if isinstance(x, Mapping):
        bad = [k for k in x if not isinstance(k, str)]
        if bad:
            raise GuerdonError(
                f"The state at {path or 'the root'} has the key {bad[0]!r}; keys of a saved state must be strings."
            )
        return {"items": {k: _strip(v, f"{path}/{k}" if path else k, tensors) for k, v in x.items()}}
    if isinstance(x, list | tuple):
        return {"list": [_strip(v, f"{path}/{i}", tensors) for i, v in enumerate(x)]}
    if x is None or isinstance(x, str | bool | int | float):
        return {"value": x}
    raise GuerdonError(
        f"The state at {path!r} is a {type(x).__name__}; only tensors, numbers, strings, lists and mappings are saved."
    )


def _fill(x: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Any:
    if "tensor" in x:
        return tensors[x["tensor"]]
    if "items" in x:
        return {k: _fill(v, tensors) for k, v in x["items"].items()}
    if "list" in x:
        return [_fill(v, tensors) for v in x["list"]]
    return x["value"]


def _write(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    """Bring a folder's entries to disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _clear(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)
