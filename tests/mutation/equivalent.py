"""Changes that leave every result as it is, so that no test can fail on them; ``equivalent.txt`` says why of each."""

from __future__ import annotations

from pathlib import Path

LISTED = Path(__file__).with_name("equivalent.txt")
FIELDS = ("line", "before", "after", "why")


def equivalent(path: Path = LISTED) -> dict[str, dict[tuple[str, str], str]]:
    """file -> (source line, 'before -> after') -> why. A file's name stands alone on a line; below it come its changes,
    each as a line of every field, indented."""
    found: dict[str, dict[tuple[str, str], str]] = {}
    file, fields = "", dict[str, str]()
    for line in path.read_text().splitlines():
        if not line.startswith(" "):
            file = line or file
            continue
        name, _, text = line.strip().partition(" ")
        fields[name] = text.strip()
        if tuple(fields) == FIELDS:
            change = f"{fields['before']} -> {fields['after']}"
            found.setdefault(file, {})[fields["line"], change] = fields["why"]
            fields = {}
    return found
