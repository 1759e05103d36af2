"""The command line: parsing and printing over ``guerdon.verbs``, ``guerdon.report`` and ``guerdon.catalogue``.

Belongs here: flags, progress bars, tables, exit codes, the demo. Does not belong here: anything a Python user could
want to call. Importing this loads neither torch nor transformers nor numpy; a verb imports what it needs when it runs.
"""

from guerdon.cli.main import main

__all__ = ["main"]
