"""Writing files whole or not at all, once for every room. Nothing else about files belongs here."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A fresh file beside ``path`` to write to; when the block ends it is flushed to disk and takes ``path``'s place.

    An error or a kill inside the block leaves what stood at ``path`` as it was, and two writers never share a file.
    Folders are made. Raises OSError where the folder cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    os.close(handle)
    part = Path(name)
    try:
        yield part
        with part.open("rb+") as written:
            os.fsync(written.fileno())
        part.chmod(0o644)  # mkstemp's files are private
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def write_text(path: Path, text: str) -> None:
    """Write a text file (UTF-8) whole or not at all; see ``replacing``."""
    with replacing(path) as part:
        part.write_text(text, encoding="utf-8")
