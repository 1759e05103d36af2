"""What the site's pages get when it is built: option tables, catalogue pages, a page of API reference a room."""

import importlib
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

import guerdon
from guerdon.catalogue.pages import entry_pages, index_page
from guerdon.cli.pages import options_page, verb_pages

OPTIONS = re.compile(r"<!-- options: ([a-z-]+) -->")
OUTSIDE = re.compile(r"\[([^\]]+)\]\(\.\./(?!guides/|verbs/|api/|catalogue/)[^)]*\)")
# From the ground up, as in docs/architecture.md; below the rooms stand the packages they consist of.
GROUND = ("errors", "files", "batch", "reduce", "divergences", "logprobs", "worlds", "preferences", "rewards")
METHODS = ("shaping", "advantages", "objectives", "decoding", "data", "training", "checks", "audit", "integrations")
ROOMS = (*GROUND, *METHODS, "lab", "catalogue", "report", "verbs", "cli")
MADE_LATER = ("benchmarks.md",)
"""Pages that a command of their own makes, left out of the navigation until it has run."""
DEEP = ("worlds", "rewards", "integrations", "data", "lab")
"""Rooms whose parts are imported by their own names, and get a page each."""


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put the generated pages where the navigation says ``API`` and ``CATALOGUE``."""
    missing = {page for page in MADE_LATER if not (Path(config.docs_dir) / page).is_file()}
    config.nav = [_filled(entry, missing) for entry in config.nav or []]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages."""
    for path, text in _generated().items():
        files.append(File.generated(config, path, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Fill option tables, the table of verdicts with links to its entries, and unlink what the site does not hold."""
    if page.file.src_uri == "catalogue.md":
        markdown = re.sub(r"\| `([a-z0-9_]+)` \|", r"| [`\1`](catalogue/\1.md) |", index_page())
    markdown = OPTIONS.sub(lambda found: options_page(verb_pages()[found[1]]), markdown)
    depth = page.file.src_uri.count("/")
    return markdown if depth else OUTSIDE.sub(r"\1", markdown)


def _generated() -> dict[str, str]:
    api = {f"api/{name}.md": _reference(name) for name in api_pages()}
    return api | {f"catalogue/{slug}.md": text for slug, text in entry_pages().items()}


def _filled(entry: Any, missing: set[str]) -> Any:
    if not isinstance(entry, dict):
        return entry
    title, inside = next(iter(entry.items()))
    if inside == "API":
        return {title: [{name: f"api/{name}.md"} for name in api_pages()]}
    if inside == "CATALOGUE":
        return {title: ["catalogue.md", *({slug: f"catalogue/{slug}.md"} for slug in entry_pages())]}
    if isinstance(inside, list):
        return {title: [_filled(e, missing) for e in inside if not missing & set(e.values())]}
    return entry


def api_pages() -> Iterator[str]:
    """Names below ``guerdon`` that get a page: every room that is there, and the parts of deep ones."""
    found = {m.name: m.ispkg for m in pkgutil.iter_modules(guerdon.__path__)}
    for room in (r for r in ROOMS if r in found):
        yield room
        if room in DEEP:
            inside = pkgutil.iter_modules(importlib.import_module(f"guerdon.{room}").__path__)
            parts = sorted(m.name for m in inside if m.ispkg or room == "integrations")
            yield from (f"{room}.{part}" for part in parts)


def _reference(name: str) -> str:
    return f"# guerdon.{name}\n\n::: guerdon.{name}\n"
