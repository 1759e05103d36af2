"""Docstrings here are plain text; the site renders Markdown: escape what would read as Markdown outside of code."""

import re
from typing import Any

import griffe

KEPT = re.compile(r"(``.+?``|`.+?`|(?<![\w*])\*[A-Za-z][A-Za-z ]*\*(?![\w*]))", re.DOTALL)
"""Code, and words between stars."""
SIGNS = re.compile(r"([\\*_\[\]<>#|])")
EXAMPLE = re.compile(r"(?:^>>> .*\n?(?:^(?!\s*$).*\n?)*)+", re.MULTILINE)


class PlainText(griffe.Extension):
    """Every docstring as Markdown that shows the text as it was written."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Called for every object that griffe reads."""
        if obj.docstring is not None:
            obj.docstring.value = escaped(obj.docstring.value)


def escaped(text: str) -> str:
    """The text with Markdown's signs escaped; code in backticks stays, ``>>>`` examples become code blocks."""
    parts, at = [], 0
    for found in EXAMPLE.finditer(text):
        parts += [_prose(text[at : found.start()]), f"\n```python\n{found[0].rstrip()}\n```\n"]
        at = found.end()
    return "".join([*parts, _prose(text[at:])])


def _prose(text: str) -> str:
    pieces = KEPT.split(text)
    return "".join(piece if i % 2 else SIGNS.sub(r"\\\1", piece) for i, piece in enumerate(pieces))
