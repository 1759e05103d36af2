"""One short file per published system: its card, its composition from the library's parts, its claim and its
experiment.

Belongs here: entries, found by walking the package (a module with ``METHOD``), and the stored results behind their
verdicts. Does not belong here: any mechanism; an entry is short because the library is good, and what two entries share
is a part of the library.
"""

from guerdon.catalogue.method import Method, entries, find, search
from guerdon.catalogue.verdicts import RESULTS, describe, describe_preset, reproduce, stored, table

__all__ = [
    "RESULTS",
    "Method",
    "describe",
    "describe_preset",
    "entries",
    "find",
    "reproduce",
    "search",
    "stored",
    "table",
]
