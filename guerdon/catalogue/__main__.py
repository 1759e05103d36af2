"""``python -m guerdon.catalogue``: write docs/catalogue.md and docs/choosing-an-objective.md (or print the table of
verdicts with --print)."""

import sys
from pathlib import Path

from guerdon.catalogue.choosing import figure, page, stored_json
from guerdon.catalogue.pages import index_page
from guerdon.files import write_text
from guerdon.lab.objective_frontiers import NAME


def main() -> None:
    """Write the pages, or print the table."""
    text = index_page()
    if "--print" in sys.argv[1:]:
        print(text)
        return
    write_text(Path("docs/catalogue.md"), text)
    costs, frontiers = stored_json(Path("benchmarks/results/direct.json")), stored_json(Path(f"results/{NAME}.json"))
    write_text(Path("docs/choosing-an-objective.md"), page(costs, frontiers))
    if frontiers is not None:
        write_text(Path("docs/choosing-an-objective.svg"), figure(frontiers))


if __name__ == "__main__":
    main()
