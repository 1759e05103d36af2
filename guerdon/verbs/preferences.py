"""Reading and auditing preference data."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from guerdon.audit import PreferenceAudit, Rankings, audit_preferences
from guerdon.audit.preferences import PARTS
from guerdon.batch import Preference
from guerdon.data import ReadReport, read_preferences, split_preferences
from guerdon.errors import DataError, GuerdonError
from guerdon.verbs import schema
from guerdon.verbs.folder import open_run, refuse_finished, write_json
from guerdon.verbs.options import AuditOptions
from guerdon.verbs.plan import Plan

Records = Sequence[Preference]


def read(
    path: str | Path, format: str = "auto", on_error: str = "raise", log: Callable[[str], None] | None = None
) -> list[Preference]:
    """The preference records of a file, every one fit for training.

    format: a format's name or 'auto'. on_error: 'raise' stops at the first bad record, 'skip' leaves it out and tells
    ``log``. Raises DataError naming file, line and field.
    """
    records, report = read_preferences(path, format, on_error, log=log)
    if log is not None:
        for line in report.skips():
            log(line)
    return records


def named(data: Records | str | Path) -> str:
    """What run.json calls the data."""
    return str(data) if isinstance(data, str | Path) else f"{len(data)} records in memory"


def remaking(verb: str, data: Records | str | Path, options: Any, out: str | Path) -> str | None:
    """The command that makes this run again; None for records that stand in no file."""
    return schema.command_line(verb, [data], options, out) if isinstance(data, str | Path) else None


def fitting(
    records: Records, encode: Callable[[Preference], object], on_error: str, log: Callable[[str], None] | None
) -> Records:
    """The records that ``encode`` takes; with 'raise' the first that it refuses stops everything, with 'skip' each is
    left out and the number goes to ``log``. Raises GuerdonError where none is left."""
    if on_error == "raise":
        return records  # whoever encodes them next raises, naming the record
    kept, lost = [], ""
    for record in records:
        try:
            encode(record)
        except GuerdonError as error:
            where = "" if record.source is None or record.source in str(error) else f"{record.source}: "
            lost = lost or f"{where}{error}"
        else:
            kept.append(record)
    if lost and log is not None:
        log(f"{len(records) - len(kept)} records skipped; the first: {lost}")
    if not kept:
        raise DataError(f"No record is left; the first was left out because: {lost}")
    return kept


def split(data: Records, held_out: int | float = 0.2, seed: int = 0) -> tuple[list[Preference], list[Preference]]:
    """(train, held out): records of one prompt fall on one side. held_out: how many, or their share in (0, 1)."""
    return split_preferences(data, held_out, seed)


def audit(
    data: Records | str | Path,
    *,
    measure: Callable[[str], int] = len,
    unit: str = "characters",
    other: Records | str | Path | None = None,
    out: str | Path | None = None,
    overwrite: bool = False,
    command: str | None = None,
    progress: Callable[[int, int, Mapping[str, float]], None] | None = None,
    options: AuditOptions | None = None,
    log: Callable[[str], None] | None = None,
    **settings: Any,
) -> PreferenceAudit:
    """Counts, duplicates, empty and identical responses, contradictions, length bias and agreement of preference data;
    with ``policy`` also how that policy ranks the pairs.

    data: records, or a file (then defects that training would refuse are counted here). measure, unit: how responses
    are measured. other: a second set, to be measured against the first (leakage). out: a folder for ``audit.json``.
    progress: called with (parts done, parts, {}). log: told which records were left out. settings: fields of
    ``AuditOptions``. Raises DataError for a file
    that cannot be read, GuerdonError for a policy that cannot be loaded.
    """
    chosen = options if options is not None else schema.build(AuditOptions, settings)
    if chosen.reference is not None and chosen.policy is None:
        raise GuerdonError("A reference is what a policy was trained from, but no policy came; name it with --policy.")
    refuse_finished(out, overwrite)
    parts = PARTS if chosen.parts == "all" else tuple(part.strip() for part in chosen.parts.split(","))
    records, read_report = _as_they_are(data, chosen, log)
    ranked = None if chosen.policy is None else _ranked(records, chosen, log)
    found = audit_preferences(
        records,
        measure,
        unit,
        chosen.seed,
        parts=parts,
        others=None if other is None else {_apart(named(other), named(data)): _as_they_are(other, chosen, log)[0]},
        embed=None if chosen.embed is None else _embed(chosen.embed),
        most_pairs=chosen.most_pairs,
        most_records=chosen.most_records,
        progress=None if progress is None else lambda _, done, of: progress(done, of, {}),
    )
    if ranked is not None:
        found = replace(found, rankings=ranked)
    if out is not None:
        files = [x for x in (data, other) if x is not None]
        config = {"data": named(data), "other": None if other is None else named(other), "unit": unit}
        told = None
        if all(isinstance(x, str | Path) for x in files):
            told = schema.command_line("audit", files, chosen, out)
        folder = open_run(out, "audit", {**config, **schema.plain(chosen)}, command or told, overwrite)
        write_json(folder.file("audit.json"), stored(found, read_report))
        folder.finish()
    return found


def _as_they_are(
    data: Records | str | Path, chosen: AuditOptions, log: Callable[[str], None] | None
) -> tuple[list[Preference], ReadReport | None]:
    """Records with their defects, and what became of them where they came from a file."""
    if not isinstance(data, str | Path):
        return list(data), None
    records, report = read_preferences(data, chosen.format, chosen.on_error, strict_pairs=False)
    if log is not None:
        for line in report.skips():
            log(line)
    return records, report


def _ranked(records: Records, chosen: AuditOptions, log: Callable[[str], None] | None) -> Rankings:
    from guerdon.verbs.ranked import rank_records

    return rank_records(records, chosen, log)


def _apart(name: str, other: str) -> str:
    return name if name != other else f"{name} (again)"


def _embed(model: str) -> Callable[[Sequence[str]], Tensor]:
    from guerdon.rewards.models import load_embedder

    return load_embedder(model)


def stored(found: PreferenceAudit, read_report: ReadReport | None) -> dict[str, Any]:
    """The audit as it stands in ``audit.json``."""
    return {"audit": found.to_dict(), "read": None if read_report is None else asdict(read_report)}


def audit_plan(
    data: str | Path, options: AuditOptions, out: str | Path | None = None, other: str | Path | None = None
) -> Plan:
    """What ``audit`` would read and write; every record is read, none is judged."""
    needs = []
    for path in (data, other):
        if path is not None:
            records, report = read_preferences(path, options.format, options.on_error, strict_pairs=False)
            pairs = sum(len(r.comparisons) for r in records)
            columns = ", ".join(dict.fromkeys(k for r in records for k in r.extra)) or "none"
            needs += [("records", f"{len(records)} in {path}, format {report.format!r}, {pairs} comparisons")]
            needs += [("further columns", columns)]
    if options.policy is not None:
        against = options.reference or "itself"
        needs += [("policy", f"{options.policy} beside {against}, on at most {options.most_pairs} comparisons")]
    return Plan("audit", tuple(needs), writes="nothing" if out is None else f"audit.json and a report in {out}")
