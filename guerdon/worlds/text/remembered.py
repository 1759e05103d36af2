"""Log-probs of models that do not change, kept on disk: a row that the same weights have read is not read again.

A value is found by what it depends on and nothing else: the weights, buffers, types and configuration of the model; the
row's real ids and which of them were chosen; the temperature. Padding, batch mates and the folder a model came from
are no part of it.
"""

import hashlib
import json
import os
import sqlite3
import struct
import warnings
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor, nn

from guerdon.batch import TokenRows
from guerdon.errors import GuerdonError
from guerdon.worlds.snapshots import LIVE, AdapterOff, Frozen, Snapshots
from guerdon.worlds.text.heads import unwrapped

_TOLD_ELSEWHERE = ("_name_or_path", "architectures", "dtype", "torch_dtype")
"""Parts of a configuration that say where a model came from, or what its class and its tensors say."""

X = TypeVar("X")
Values = np.ndarray[Any, np.dtype[np.float32]]

_FILE = "logprobs.sqlite3"
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_PATIENCE = 60.0
"""Seconds to wait for another process's transaction, which takes milliseconds."""
_AT_ONCE = 500
"""Keys of one question; older SQLite takes 999 at most."""


def constant(snapshots: Snapshots, name: str) -> bool:
    """Whether ``name`` stays what it is while the policy learns, as a reference does. 'old' and 'sampler' are captured
    every round, so that keeping their log-probs would fill a disk for nothing."""
    known = name in snapshots and name not in (LIVE, "old", "sampler")
    return known and isinstance(snapshots.rule(name), Frozen | AdapterOff)


class Remembered:
    """A folder of log-probs; several processes may use it at once, and any of them may be killed.

    Nothing that befalls the disk stops a run: a damaged database is set aside beside itself and begun anew, and where
    the folder cannot be read or written all is computed; both are told by one warning. Raises GuerdonError where
    ``folder`` is a file.
    """

    def __init__(self, folder: str | Path) -> None:
        if os.path.isfile(folder):
            raise GuerdonError(f"A cache of log-probs needs a folder, but {folder} is a file; name another place.")
        self._store = _Store(Path(folder) / _FILE)
        self._known: WeakKeyDictionary[Snapshots, dict[str, tuple[object, list[Tensor], bytes]]] = WeakKeyDictionary()

    def logprobs(
        self,
        snapshots: Snapshots,
        rows: TokenRows,
        names: Sequence[str],
        compute: Callable[[str, TokenRows], Tensor],
        under: str = "",
    ) -> dict[str, Tensor]:
        """name -> float32 [N,L] of the chosen tokens, 0 elsewhere. compute(name, some rows) gives those that are not
        held; they are kept. Equal rows are computed once. under: what else the numbers hang on (the type they are
        computed in)."""
        keys = list(row_keys(rows))
        sizes = rows.response.sum(1).tolist()
        out = {}
        for name in names:
            model = self.fingerprint(snapshots, name)
            full = [hashlib.sha256(model + key + under.encode()).digest() for key in keys]
            wanted = dict(zip(full, sizes, strict=True))
            held = self._store.read([k for k, n in wanted.items() if n], wanted)
            first = {k: i for i, k in reversed(list(enumerate(full))) if k not in held and sizes[i]}
            if first:
                at = torch.tensor(sorted(first.values()), device=rows.ids.device)
                some = rows.take(at)
                found = compute(name, some)[some.response].float().cpu().numpy()
                cuts = np.cumsum([sizes[i] for i in at.tolist()])[:-1]
                fresh = {full[i]: x for i, x in zip(at.tolist(), np.split(found, cuts), strict=True)}
                self._store.write(fresh)
                held = {**held, **fresh}
            value = torch.zeros(rows.ids.shape, device=rows.ids.device)
            flat = [held[k] for k, n in zip(full, sizes, strict=True) if n]
            if flat:
                value[rows.response] = torch.from_numpy(np.concatenate(flat)).to(value)
            out[name] = value
        return out

    def fingerprint(self, snapshots: Snapshots, name: str) -> bytes:
        """``fingerprint_of`` the snapshot; weights are read again only where they have changed (by an assignment or an
        operation in place; a write through ``.data`` is not seen)."""
        off = isinstance(snapshots.rule(name), AdapterOff)
        known = self._known.setdefault(snapshots, {})
        with snapshots.using(name) as module:
            tensors = list(_tensors(module, off).values())
            state = [(x.data_ptr(), 0 if x.is_inference() else x._version, x.dtype, x.shape) for x in tensors]
            now = (snapshots.version(name), state, _settings(module, off))
            if name not in known or known[name][0] != now:
                # The tensors are held so that no other takes their addresses.
                known[name] = (now, tensors, fingerprint_of(module, off))
        return known[name][2]


def row_keys(rows: TokenRows) -> Iterator[bytes]:
    """A hash of each row's real ids, of which of them were chosen, and of the temperature."""
    ids, real, chosen = (x.cpu().numpy() for x in (rows.ids, rows.attention, rows.response))
    temperature = struct.pack("<d", rows.temperature)
    for i in range(len(ids)):
        parts = (ids[i][real[i]].astype("<i8").tobytes(), chosen[i][real[i]].tobytes(), temperature)
        yield hashlib.sha256(b"".join(parts)).digest()


def fingerprint_of(module: nn.Module, adapters_off: bool = False) -> bytes:
    """A hash of everything that a model computes with: class, configuration, weights and buffers with their names and
    types; adapters with their configuration and scales. adapters_off: what stands below the adapters, by the names it
    would have without them."""
    digest = hashlib.sha256(_settings(module, adapters_off).encode())
    for name, x in sorted(_tensors(module, adapters_off).items()):
        digest.update(f"\n{name} {x.dtype} {list(x.shape)}\n".encode())
        digest.update(x.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.digest()


def _tensors(module: nn.Module, adapters_off: bool) -> dict[str, Tensor]:
    inner = unwrapped(module)
    named = {**dict(inner.named_parameters()), **dict(inner.named_buffers())}
    if not adapters_off:
        return named
    added = {part for m in inner.modules() for part in getattr(m, "adapter_layer_names", ())}
    below = {}
    for name, x in named.items():
        parts = name.split(".")
        if added.isdisjoint(parts):
            below[".".join(p for p in parts if p not in ("base_layer", "original_module"))] = x
    return below


def _settings(module: nn.Module, adapters_off: bool) -> str:
    """Everything but tensors, as JSON."""
    inner = unwrapped(module)
    config = {k: x for k, x in inner.config.to_dict().items() if k not in _TOLD_ELSEWHERE}
    told: dict[str, Any] = {"class": type(inner).__name__, "config": config}
    if not adapters_off and hasattr(module, "peft_config"):
        configs: Mapping[str, Any] = module.peft_config  # type: ignore[assignment]
        told["adapters"] = {k: {**x.to_dict(), "base_model_name_or_path": None} for k, x in configs.items()}
        told["active"] = getattr(module, "active_adapters", None)
        told["scales"] = [m.scaling for m in inner.modules() if isinstance(getattr(m, "scaling", None), dict)]
    return json.dumps(told, sort_keys=True, default=_plain)


def _plain(x: object) -> object:
    return sorted(map(str, x)) if isinstance(x, set | frozenset) else str(x)


class _Store:
    """key -> float32 values in one SQLite file. Every call opens it for one short transaction, so that processes,
    threads and forks share nothing but the file. A checksum of key and values tells what a disk has garbled."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._off = False

    def read(self, keys: Sequence[bytes], sizes: Mapping[bytes, int]) -> dict[bytes, Values]:
        """The values of those keys that are held, whole and of the size expected."""

        def ask(base: sqlite3.Connection) -> list[tuple[bytes, bytes]]:
            found: list[tuple[bytes, bytes]] = []
            for at in range(0, len(keys), _AT_ONCE):
                part = keys[at : at + _AT_ONCE]
                marks = ",".join("?" * len(part))
                found += base.execute(f"SELECT key, value FROM logprobs WHERE key IN ({marks})", part)
            return found

        if not keys:
            return {}
        none: list[tuple[bytes, bytes]] = []
        values = {k: _unpacked(k, x) for k, x in self._tried(ask, none)}
        return {k: x for k, x in values.items() if x is not None and len(x) == sizes[k]}

    def write(self, values: Mapping[bytes, Values]) -> None:
        """Keep values; what stood under their keys is replaced."""
        items = [(k, _packed(k, x)) for k, x in values.items()]
        self._tried(lambda base: base.executemany("INSERT OR REPLACE INTO logprobs VALUES (?, ?)", items), None)

    def _tried(self, work: Callable[[sqlite3.Connection], X], otherwise: X) -> X:
        for _ in range(2):
            if self._off:
                break
            try:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                with closing(sqlite3.connect(self.path, timeout=_PATIENCE)) as base, base:
                    base.execute("CREATE TABLE IF NOT EXISTS logprobs (key BLOB PRIMARY KEY, value BLOB) WITHOUT ROWID")
                    return work(base)
            except (sqlite3.Error, OSError) as error:
                code = getattr(error, "sqlite_errorcode", 0) & 0xFF
                self._off = code not in _DAMAGED or not self._set_aside(error)
                if self._off:
                    warnings.warn(f"The cache {self.path} cannot be used ({error}); all is computed.", stacklevel=2)
        return otherwise

    def _set_aside(self, error: Exception) -> bool:
        aside = self.path.with_suffix(".damaged")
        try:
            # The journal first: it must not be taken for that of the file that begins anew.
            Path(f"{self.path}-journal").unlink(missing_ok=True)
            self.path.replace(aside)
        except FileNotFoundError:
            return True  # another process was faster
        except OSError:
            return False
        told = f"The cache {self.path} is damaged ({error}); it was set aside as {aside.name} and begins anew."
        warnings.warn(told, stacklevel=2)
        return True


def _packed(key: bytes, values: Values) -> bytes:
    raw = values.astype("<f4").tobytes()
    return struct.pack("<I", zlib.crc32(key + raw)) + raw


def _unpacked(key: bytes, held: object) -> Values | None:
    if not isinstance(held, bytes) or len(held) % 4 or not held:
        return None
    raw = held[4:]
    return np.frombuffer(raw, "<f4") if struct.unpack("<I", held[:4])[0] == zlib.crc32(key + raw) else None
