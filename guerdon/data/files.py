"""Opening files of preference records: JSON Lines or a JSON array, gzipped or not; every complaint names its line."""

import gzip
import json
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

from guerdon.batch import Preference
from guerdon.data import records
from guerdon.data.formats import Format, detect_format, format_named
from guerdon.errors import DataError


@dataclass
class ReadReport:
    """What became of a file's records; filled while they are read.

    format, reason: the format and why it was taken. kept: records handed out. skipped: (line, reason) of those left out
    under ``on_error='skip'``. defects: (line, reason) of records kept although useless for training.
    """

    path: str
    format: str = ""
    reason: str = ""
    kept: int = 0
    skipped: list[tuple[int, str]] = field(default_factory=list)
    defects: list[tuple[int, str]] = field(default_factory=list)

    def __str__(self) -> str:
        parts = [f"{self.path}: {self.kept} records of format {self.format!r} ({self.reason})"]
        if self.skipped:
            parts.append(f"{len(self.skipped)} skipped, the first at line {self.skipped[0][0]}: {self.skipped[0][1]}")
        if self.defects:
            parts.append(f"{len(self.defects)} kept with defects")
        return "; ".join(parts)


def read_preferences(
    path: str | Path,
    format: str = "auto",
    on_error: str = "raise",
    strict_pairs: bool = True,
    log: Callable[[str], None] | None = None,
) -> tuple[list[Preference], ReadReport]:
    """All preferences of a file, and what became of its records. Arguments and errors as ``iterate_preferences``."""
    report = ReadReport(str(path))
    kept = list(iterate_preferences(path, format, on_error, strict_pairs, log, report))
    return kept, report


def iterate_preferences(
    path: str | Path,
    format: str = "auto",
    on_error: str = "raise",
    strict_pairs: bool = True,
    log: Callable[[str], None] | None = None,
    report: ReadReport | None = None,
) -> Iterator[Preference]:
    """The preferences of a file, one at a time, each with ``source`` 'path:line' (an array's elements count as lines).

    format: a format's name, or 'auto' to decide by the first record; the decision and its reason go to ``log`` and
    ``report``. on_error: 'raise' stops at the first bad record, 'skip' leaves it out and lists it in ``report``.
    strict_pairs: True (training) treats empty responses and compared responses that are the same as errors; False
    (auditing) keeps such records and lists them in ``report.defects``.

    Raises DataError for a file that is missing, empty, not JSON or without one usable record.
    """
    if on_error not in ("raise", "skip"):
        raise DataError(f"on_error must be 'raise' or 'skip', but {on_error!r} came.")
    report = ReadReport(str(path)) if report is None else report
    chosen = None if format == "auto" else format_named(format)
    if chosen is not None:
        report.format, report.reason = chosen.name, "as asked for"
    for line, value in _json_records(Path(path)):
        source = f"{path}:{line}"
        try:
            record = _object(value, source)
            if chosen is None:
                chosen, report.reason = detect_format(record, source)
                report.format = chosen.name
                if log is not None:
                    log(f"{path} is read as format {chosen.name!r}: {report.reason}")
            preference, found = _read(chosen, record, source)
            if found and strict_pairs:
                raise DataError(
                    f"{source}: {found[0]}, which teaches nothing; mend it or skip it with on_error='skip'."
                )
        except DataError as error:
            if on_error == "raise":
                raise
            report.skipped.append((line, str(error)))
            continue
        report.defects.extend((line, reason) for reason in found)
        report.kept += 1
        yield preference
    if not report.kept:
        first = f"; the first of {len(report.skipped)} skipped: {report.skipped[0][1]}" if report.skipped else ""
        raise DataError(f"{path} holds no usable preference record{first}")


def _read(chosen: Format, record: records.Record, source: str) -> tuple[Preference, tuple[str, ...]]:
    """(preference, its defects)."""
    preference = chosen.read(record, source)
    return preference, records.defects(preference, chosen.names(len(preference.responses)))


def _object(value: Any, source: str) -> records.Record:
    if isinstance(value, DataError):
        raise value
    if not isinstance(value, dict):
        raise DataError(f"{source}: a record must be a JSON object, but a {type(value).__name__} came.")
    return value


def _json_records(path: Path) -> Iterator[tuple[int, Any]]:
    """(line, value) of every record; a line that is not JSON comes as the DataError that says so."""
    lines = _numbered_lines(path)
    # Blank lines may stand anywhere; the first other one tells an array from JSON Lines.
    first = next(lines, None)
    if first is None:
        raise DataError(f"{path} is empty; a file of preference records, one JSON object a line, was expected.")
    if first[1].startswith(b"["):
        yield from _array_records(path, b"".join(text for _, text in chain([first], lines)))
        return
    for line, text in chain([first], lines):
        try:
            yield line, json.loads(text.decode("utf-8"))
        except json.JSONDecodeError as error:
            yield (
                line,
                DataError(f"{path}:{line}: not valid JSON ({error.msg} at column {error.colno}); mend the line."),
            )
        except UnicodeDecodeError as error:
            yield line, DataError(f"{path}:{line}: not UTF-8 text (byte {error.start}); save the file as UTF-8.")


def _array_records(path: Path, document: bytes) -> Iterator[tuple[int, Any]]:
    try:
        yield from enumerate(json.loads(document.decode("utf-8")), start=1)
    except json.JSONDecodeError as error:
        raise DataError(
            f"{path}: not a valid JSON array ({error.msg} at line {error.lineno}); mend the file."
        ) from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 text (byte {error.start}); save the file as UTF-8.") from error


def _numbered_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """(number from 1, bytes) of the lines that are not blank; gzip is told by its first bytes, not by the name."""
    if not path.exists():
        raise DataError(f"{path} does not exist; give the path of a file of preference records (.jsonl or .json).")
    if path.is_dir():
        raise DataError(f"{path} is a folder; give the path of one file in it (.jsonl or .json).")
    try:
        with open(path, "rb") as raw:
            zipped = raw.read(2) == b"\x1f\x8b"
        with gzip.open(path, "rb") if zipped else open(path, "rb") as stream:
            for number, text in enumerate(stream, start=1):
                text = text.removeprefix(b"\xef\xbb\xbf") if number == 1 else text
                if text.strip():
                    yield number, text
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path} is a broken gzip file ({error}); fetch or write it again.") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}.") from error
