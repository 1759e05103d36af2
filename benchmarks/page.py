"""docs/benchmarks.md, made from the stored results alone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.arms import ROOT

PAGE = ROOT / "docs" / "benchmarks.md"


@dataclass(frozen=True)
class Ratio:
    """One claim that can fail: what, the value measured, and the bound it must keep ('at least' or 'at most')."""

    what: str
    value: float
    bound: float
    at_least: bool = True

    @property
    def holds(self) -> bool:
        """Whether the value keeps the bound."""
        return self.value >= self.bound if self.at_least else self.value <= self.bound


@dataclass(frozen=True)
class Section:
    """A benchmark's part of the page: Markdown text (with its tables) and its ratios."""

    text: str
    ratios: Sequence[Ratio] = ()


def table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A Markdown table; floats with four significant digits."""

    def cell(x: Any) -> str:
        if isinstance(x, float):
            return f"{x:,.0f}" if abs(x) >= 1000 else f"{x:.4g}"
        return str(x)

    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join([*lines, *("| " + " | ".join(cell(x) for x in row) + " |" for row in rows)])


def write(sections: Mapping[str, tuple[str, Section, Mapping[str, Any]]]) -> None:
    """The page: name -> (title, section, machine)."""
    ratios = [(name, r) for name, (_, section, _) in sections.items() for r in section.ratios]
    shown = [
        [
            f"[{name}](#{_anchor(sections[name][0])})",
            r.what,
            f"{r.value:.3g}",
            _bound(r),
            "yes" if r.holds else "**no**",
        ]
        for name, r in ratios
    ]
    machines = sorted({_machine(machine) for _, _, machine in sections.values()})
    lines = [
        "# Benchmarks",
        "",
        "This page is made by `make benchmarks` from what it measures; nothing here is written by hand. Every arm runs",
        "in a fresh process; the peer runs at the fastest of the settings that were tried, which are shown.",
        "",
        *(f"Measured on {m}." for m in machines),
        "",
        "## What must hold",
        "",
        table(("benchmark", "ratio", "measured", "bound", "holds"), shown),
        "",
    ]
    for title, section, _ in sections.values():
        lines += [f"## {title}", "", section.text.strip(), ""]
    PAGE.write_text("\n".join(lines), encoding="utf-8")


def _bound(r: Ratio) -> str:
    return f"{'≥' if r.at_least else '≤'} {r.bound:g}"


def _anchor(title: str) -> str:
    return "".join(c for c in title.lower().replace(" ", "-") if c.isalnum() or c in "-_")


def _machine(m: Mapping[str, Any]) -> str:
    return f"{m['cpu']}, {m['cores']} cores, Python {m['python']}, torch {m['torch']}"
