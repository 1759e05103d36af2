"""The folder of a run: what stands in it, when it may be used again, and files that are whole or absent."""

import json
import os
import platform
import shlex
import shutil
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from guerdon import __version__
from guerdon.errors import GuerdonError
from guerdon.files import write_text

RECORD = "run.json"
SPLIT = "align"
"""The verb that several processes may carry out together."""


def write_json(path: Path, value: Any) -> None:
    """Write JSON atomically: a kill leaves the old file or the new one."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False, default=str) + "\n")


def write_lines(path: Path, values: Iterable[Any]) -> None:
    """Write JSON Lines atomically."""
    write_text(path, "".join(json.dumps(value, ensure_ascii=False) + "\n" for value in values))


def read_json(path: Path) -> Any:
    """Read JSON. Raises GuerdonError naming the file."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise GuerdonError(f"{path} cannot be read: {error}.") from error


def versions() -> dict[str, str]:
    """Versions of guerdon, Python and the libraries that decide numbers."""
    found = {"python": platform.python_version(), "guerdon": __version__}
    for name in ("torch", "transformers", "peft", "numpy"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


@dataclass(frozen=True)
class RunFolder:
    """An open run. resumed: whether an unfinished run of the same configuration stood there."""

    path: Path
    resumed: bool

    def file(self, name: str) -> Path:
        """A path inside."""
        return self.path / name

    def finish(self, **more: Any) -> None:
        """Mark the run finished; ``more`` joins run.json."""
        record = read_json(self.file(RECORD))
        took = record.get("seconds", 0.0) + time.time() - record["opened"]
        write_json(self.file(RECORD), {**record, **more, "status": "finished", "seconds": round(took, 1)})


def refuse_finished(out: str | Path | None, overwrite: bool = False) -> None:
    """Raise GuerdonError at once where ``out`` may not be written, before anything slow is loaded."""
    if out is None or not Path(out).exists():
        return
    path = Path(out)
    if not path.is_dir():
        raise GuerdonError(f"{path} is a file; give a folder with --out.")
    if any(path.iterdir()) and not (path / RECORD).is_file():
        raise GuerdonError(f"{path} holds files that are no run of guerdon; give another folder with --out.")
    if (path / RECORD).is_file() and not overwrite and read_json(path / RECORD).get("status") == "finished":
        raise GuerdonError(f"{path} holds a finished run; give another --out, or --overwrite to replace it.")


def open_run(
    out: str | Path, verb: str, config: Mapping[str, Any], command: str | None = None, overwrite: bool = False
) -> RunFolder:
    """Take ``out`` for a run: new, or the unfinished run of the same verb and configuration that stands there.

    command: what makes the run again from its full configuration (``schema.command_line``), run in ``folder``.
    Nothing finished is ever changed unless ``overwrite``; a folder that holds other things is refused always. Call it
    after all input has been read, so that bad input leaves everything as it was. Raises GuerdonError, also where a
    launcher started several processes for a verb that one carries out.
    """
    if verb != SPLIT and os.environ.get("WORLD_SIZE", "1") != "1":
        from guerdon.training.distributed import check_alone

        check_alone(verb)
    refuse_finished(out, overwrite)
    path, resumed = Path(out), False
    if path.is_dir() and any(path.iterdir()):
        resumed = _may_resume(path, verb, config, overwrite)
        if not resumed:
            shutil.rmtree(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise GuerdonError(
            f"{path} cannot be made: {error.strerror or error}; check its permissions or give another --out."
        ) from error
    record = read_json(path / RECORD) if resumed else {}
    record = {
        "verb": verb,
        "command": command or shlex.join(sys.argv),
        "folder": str(Path.cwd()),
        "config": json.loads(json.dumps(config, default=str)),
        "versions": versions(),
        "threads": _threads(),
        "started": record.get("started", time.strftime("%Y-%m-%dT%H:%M:%S%z")),
        "status": "running",
        "opened": time.time(),
        "seconds": record.get("seconds", 0.0),
    }
    write_json(path / RECORD, record)
    return RunFolder(path, resumed)


def _may_resume(path: Path, verb: str, config: Mapping[str, Any], overwrite: bool) -> bool:
    """True to resume, False to start anew (overwrite); raises where neither is allowed."""
    if overwrite:
        return False
    record = read_json(path / RECORD)
    if record.get("verb") != verb:
        raise GuerdonError(f"{path} holds a run of {record.get('verb')!r}; give another folder with --out.")
    other = differing(record.get("config", {}), json.loads(json.dumps(config, default=str)))
    if other:
        raise GuerdonError(
            f"{path} holds an unfinished run with another configuration ({', '.join(other)}); "
            "give another --out, or --overwrite to begin anew."
        )
    return True


def differing(a: Mapping[str, Any], b: Mapping[str, Any], where: str = "") -> list[str]:
    """Dotted names whose values differ."""
    out: list[str] = []
    for key in dict.fromkeys([*a, *b]):
        x, y = a.get(key), b.get(key)
        if isinstance(x, Mapping) and isinstance(y, Mapping):
            out += differing(x, y, f"{where}{key}.")
        elif x != y:
            out.append(where + key)
    return out


def _threads() -> int | None:
    torch = sys.modules.get("torch")
    return None if torch is None else int(torch.get_num_threads())


def report_needs(folders: Sequence[Path]) -> list[tuple[str, str]]:
    """What stands in folders that a report is asked of. Raises GuerdonError for one that is no folder."""
    needs = []
    for folder in folders:
        if not folder.is_dir():
            raise GuerdonError(f"{folder} is not a folder; give one that a verb of guerdon wrote.")
        needs.append((str(folder), ", ".join(sorted(p.name for p in folder.iterdir() if p.is_file())) or "empty"))
    return needs
