"""Run benchmarks and write docs/benchmarks.md; see the package."""

import argparse
import importlib
import sys
import time

from benchmarks import arms, measure, page

NAMES = ("dpo", "objectives", "direct", "rewards", "grpo", "scoring", "rescoring", "tabular", "serving")
"""Every benchmark, in the order of the page."""


def main() -> int:
    """0 where every ratio holds, 1 otherwise."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", help=f"of {', '.join(NAMES)}; all by default")
    parser.add_argument("--page", action="store_true", help="run nothing; write the page from the stored results")
    asked = parser.parse_args()
    if unknown := set(asked.names) - set(NAMES):
        parser.error(f"unknown benchmarks: {', '.join(sorted(unknown))}")
    for name in () if asked.page else asked.names or NAMES:
        print(f"{name} …", flush=True)
        began = time.perf_counter()
        result = importlib.import_module(f"benchmarks.{name}").run()
        arms.save(name, {"machine": measure.machine(), **result})
        print(f"{name}: {time.perf_counter() - began:.0f} s", flush=True)
    sections = {}
    for name in NAMES:
        if (stored := arms.load(name)) is not None:
            module = importlib.import_module(f"benchmarks.{name}")
            sections[name] = (module.TITLE, module.page(stored), stored["machine"])
    page.write(sections)
    failed = 0
    for name, (_, section, _) in sections.items():
        for ratio in section.ratios:
            failed += not ratio.holds
            print(f"{'holds' if ratio.holds else 'FAILS'}  {name}: {ratio.what}: {ratio.value:.3g}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
