"""The verbs, one file each: every one parses, calls one function of ``guerdon.verbs`` and prints what it gave.

Belongs here: arguments, help with an example that runs, what is printed. Does not belong here: options
(``guerdon.verbs.options``), work. Importing this loads nothing heavy; a verb imports what it needs when it runs.
"""

from guerdon.cli.verbs import (
    align,
    audit,
    convert,
    demo,
    doctor,
    evaluate,
    explain,
    methods,
    report,
    reproduce,
    sample,
    score,
    serve,
    train_reward,
)

VERBS = (
    demo,
    audit,
    convert,
    train_reward,
    evaluate,
    align,
    score,
    explain,
    sample,
    serve,
    report,
    methods,
    reproduce,
    doctor,
)
"""In the order of --help."""

__all__ = ["VERBS"]
