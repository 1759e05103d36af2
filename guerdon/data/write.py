"""Writing preference records: JSON Lines in any of the formats, whole or not at all."""

import gzip
import json
from collections.abc import Iterable
from pathlib import Path

from guerdon.batch import Preference
from guerdon.data.formats import format_named
from guerdon.files import replacing


def write_preferences(path: str | Path, preferences: Iterable[Preference], format: str = "guerdon") -> int:
    """Write one record a line, gzipped where the name ends in .gz; returns how many.

    The file appears complete or not at all: an error, or a kill half way, leaves what stood at ``path`` as it was.
    Folders are made. Equal records give equal bytes. Format 'guerdon' holds everything; the others raise DataError for
    what they cannot hold.
    """
    path, chosen, count = Path(path), format_named(format), 0
    with replacing(path) as part, part.open("wb") as raw:
        # No name and no time in the gzip header, or equal records would give different bytes.
        out = gzip.GzipFile("", "wb", fileobj=raw, mtime=0) if path.suffix == ".gz" else raw
        for preference in preferences:
            out.write(json.dumps(chosen.write(preference), ensure_ascii=False).encode("utf-8") + b"\n")
            count += 1
        if out is not raw:
            out.close()
    return count
