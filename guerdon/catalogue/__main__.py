"""``python -m guerdon.catalogue``: write the table of verdicts into docs/catalogue.md (or print it with --print)."""

import sys
from pathlib import Path

from guerdon.catalogue.verdicts import table
from guerdon.files import write_text

PAGE = """# The catalogue and its verdicts

Made by `python -m guerdon.catalogue` from the stored results. `guerdon reproduce NAME` runs an experiment again,
`guerdon methods NAME` shows its claim, both arms and its caveat. A verdict needs at least 8 paired seeds; how it is
reached stands in [lab.md](lab.md). Verdicts that are not "reproduced" are published like any other.

{table}
"""


def main() -> None:
    """Write or print the table."""
    text = PAGE.format(table=table())
    if "--print" in sys.argv[1:]:
        print(text)
    else:
        write_text(Path("docs/catalogue.md"), text)


if __name__ == "__main__":
    main()
