"""Folders of saved reward models: written whole or not at all, and read by the format they name."""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from guerdon.errors import GuerdonError


@contextmanager
def whole_folder(folder: str | Path) -> Iterator[Path]:
    """A new folder to write into, moved to ``folder`` at the end: a kill or an error leaves the old one, never half."""
    folder = Path(folder)
    part = folder.with_name(f".{folder.name}.part{os.getpid()}")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        yield part
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
    old = folder.with_name(f".{folder.name}.old{os.getpid()}")
    if folder.exists():
        os.replace(folder, old)
    os.replace(part, folder)
    shutil.rmtree(old, ignore_errors=True)


def read_about(folder: Path, expected: str) -> dict[str, Any]:
    """``reward_model.json`` of a saved model. Raises GuerdonError where it is absent or of another format."""
    try:
        about = json.loads((folder / "reward_model.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise GuerdonError(f"A saved reward model was expected in {folder}, but reward_model.json: {error}.") from error
    if about.get("format") != expected:
        raise GuerdonError(
            f"{folder}/reward_model.json must have format {expected!r}, but has {about.get('format')!r}."
        )
    return about
