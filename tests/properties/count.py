"""`python -m tests.properties.count` prints how many public functions are held to how many properties."""

from __future__ import annotations

import torch

from tests.properties import exemptions
from tests.properties.every import CASES, counts, public_functions

KINDS = ("passed", "not applicable", "exempt")


def main() -> None:
    """Print the table."""
    torch.set_num_threads(1)
    total, by_property = counts()
    functions = public_functions()
    print(f"{len(functions)} public functions, {len(exemptions.FUNCTIONS)} of them exempt, {len(CASES)} cases\n")
    print(f"{'property':<28}" + "".join(f"{kind:>16}" for kind in KINDS))
    for name, found in by_property.items():
        print(f"{name:<28}" + "".join(f"{found[kind]:>16}" for kind in KINDS))
    print(f"{'in all':<28}" + "".join(f"{total[kind]:>16}" for kind in KINDS))


if __name__ == "__main__":
    main()
