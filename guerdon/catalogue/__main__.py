"""``python -m guerdon.catalogue``: write the table of verdicts into docs/catalogue.md (or print it with --print)."""

import sys
from pathlib import Path

from guerdon.catalogue.pages import index_page
from guerdon.files import write_text


def main() -> None:
    """Write or print the table."""
    text = index_page()
    if "--print" in sys.argv[1:]:
        print(text)
    else:
        write_text(Path("docs/catalogue.md"), text)


if __name__ == "__main__":
    main()
