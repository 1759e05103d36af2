"""A report from a folder: each file that is there gives its section."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from guerdon.errors import GuerdonError
from guerdon.files import write_text
from guerdon.report.page import Section, page

TITLES = {
    "audit": "Audit of preferences",
    "train-reward": "Reward model",
    "align": "Alignment",
    "demo": "guerdon demo: from preferences to a policy, and whether it cheats",
}


def build_report(folder: str | Path) -> Path:
    """Write ``report.html`` into a folder that a verb wrote and return its path; whole or not at all.

    Raises GuerdonError where the folder does not exist, holds nothing to report on, or a file in it cannot be read.
    """
    path = Path(folder)
    if not path.is_dir():
        raise GuerdonError(f"{path} is not a folder; give one that a verb of guerdon wrote.")
    run = _json(path / "run.json", {})
    sections = _sections(path)
    if not sections:
        raise GuerdonError(
            f"{path} holds nothing to report on (audit.json, evaluation.json, metrics.jsonl or curves.json)."
        )
    title = TITLES.get(run.get("verb", ""), "Report")
    lead = (
        ""
        if run.get("status", "finished") == "finished"
        else "This run is not finished; the report shows what there is so far."
    )
    whole = page(title, sections, run.get("command", ""), _made(run), lead or str(run.get("lead", "")))
    write_text(path / "report.html", whole)
    return path / "report.html"


def _sections(path: Path) -> list[Section]:
    """The sections for the files that are there; a module that draws is loaded only for its file."""
    found: list[Section] = []
    if (path / "audit.json").is_file():
        from guerdon.report.preferences import preferences_section

        found.append(preferences_section(_json(path / "audit.json")))
    if (path / "evaluation.json").is_file():
        from guerdon.report.reward_model import reward_model_section

        found.append(reward_model_section(_json(path / "evaluation.json")))
    if (path / "metrics.jsonl").is_file():
        from guerdon.report.alignment import alignment_section

        found.append(alignment_section(_lines(path / "metrics.jsonl"), _json(path / "summary.json", {})))
    if (path / "curves.json").is_file():
        from guerdon.report.overoptimisation import overoptimisation_section

        found.append(overoptimisation_section(_json(path / "curves.json")))
    if (path / "samples.json").is_file():
        from guerdon.report.alignment import samples_section

        found.append(samples_section(_json(path / "samples.json")))
    return found


def _json(path: Path, missing: Any = None) -> Any:
    if missing is not None and not path.is_file():
        return missing
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise GuerdonError(f"{path} cannot be read: {error}.") from error


def _lines(path: Path) -> list[dict[str, Any]]:
    out = []
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n")[:-1], 1):
        try:
            out.append(json.loads(line))
        except ValueError as error:
            raise GuerdonError(f"{path}:{number}: not a JSON object ({error}).") from error
    return out


def _made(run: Mapping[str, Any]) -> str:
    """Versions, seed, threads and duration in one line."""
    parts = [f"{name} {version}" for name, version in run.get("versions", {}).items()]
    seed = run.get("config", {}).get("seed")
    parts += [f"seed {seed}"] if seed is not None else []
    parts += [f"torch threads {run['threads']}"] if run.get("threads") else []
    parts += [f"{run['seconds']:.0f} s"] if run.get("seconds") else []
    parts += [f"started {run['started']}"] if run.get("started") else []
    return " · ".join(parts)
