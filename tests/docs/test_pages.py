"""Every verb has its page, the option tables say what the schema says, and tables name only what exists."""

import re
from importlib import import_module
from pathlib import Path

import pytest

from guerdon.cli.pages import options_page, verb_pages

DOCS = Path(__file__).resolve().parents[2] / "docs"
VERBS = verb_pages()
NAME = re.compile(r"`(guerdon(?:\.[A-Za-z_0-9]+)+)")


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_a_guide_with_the_example_that_runs(verb: str) -> None:
    page = (DOCS / "verbs" / f"{verb}.md").read_text()
    assert f"```\n{VERBS[verb].example}\n```" in page
    assert f"<!-- options: {verb} -->" in page
    for heading in ("## What the output means", "## What goes wrong", "## Options"):
        assert heading in page
    assert f"verbs/{verb}.md" in (DOCS.parent / "mkdocs.yml").read_text()


def test_the_table_of_options_by_hand() -> None:
    table = options_page(VERBS["align"])
    assert table.startswith("```text\nguerdon align PREFS [options]\n```")
    lines = table.splitlines()
    assert "| `--shaping` | one of none, par | `none` | What is done to the reward. |" in lines
    assert "| `--set optim.clip=…` | number above 0 | `1.0` | Largest gradient norm. |" in lines
    assert "| `--lora-rank` (`lora.rank`) | whole number at least 0 | `0` |" in table
    assert "| `--model`, `-m` | text | none |" in table
    assert "| `--overwrite` |" in table and "| `--overwrite` |" not in options_page(VERBS["evaluate"])
    assert "whole number at least 0 and below" not in table  # a share is a number
    assert "| `--all` (`keep_all`) | yes or no | `False` |" in options_page(VERBS["sample"])
    assert options_page(VERBS["audit"]).startswith("```text\nguerdon audit PREFS [OTHER] [options]")


def named(text: str) -> set[str]:
    """Every ``guerdon.x.y`` that a page names in code."""
    return set(NAME.findall(text))


def resolved(name: str) -> object:
    """The object behind a dotted name: the longest module, then attributes. Raises where it does not exist."""
    parts = name.split(".")
    for cut in range(len(parts), 0, -1):
        try:
            found: object = import_module(".".join(parts[:cut]))
        except ModuleNotFoundError as error:
            if error.name is None or not error.name.startswith("guerdon"):
                raise
            continue
        for attribute in parts[cut:]:
            found = getattr(found, attribute)
        return found
    raise ImportError(name)


@pytest.mark.parametrize("page", sorted(p.relative_to(DOCS).as_posix() for p in DOCS.rglob("*.md")))
def test_every_name_on_a_page_exists(page: str) -> None:
    for name in sorted(named((DOCS / page).read_text())):
        resolved(name)


def test_a_name_that_does_not_exist_is_found() -> None:
    assert named("`guerdon.objectives.dpo(beta)` and guerdon.not_code") == {"guerdon.objectives.dpo"}
    with pytest.raises((AttributeError, ImportError)):
        resolved("guerdon.objectives.kto_with_everything")
