"""Plots as inline SVG that reads on light and on dark paper: no background, and ink is the page's own text colour."""

import html
import io
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from guerdon.report.page import Markup

COLOURS = ("#3b82f6", "#f07f2e", "#18a874", "#a560e8", "#e0524d", "#0ea5b7", "#c08a1e", "#7c8899")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
_INK = "#010203"  # drawn in this, then replaced by currentColor
_STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "guerdon",
    "font.size": 10,
    "font.family": "sans-serif",
    "text.color": _INK,
    "axes.edgecolor": _INK,
    "axes.labelcolor": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": _INK,
    "grid.alpha": 0.14,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "lines.linewidth": 1.8,
}


@dataclass(frozen=True)
class Line:
    """A curve: x and y [n], low and high [n] of its band (None for no band), dashed or not."""

    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] | None = None
    high: Sequence[float] | None = None
    dashed: bool = False


def draw(paint: Callable[[Any], None], label: str, width: float = 5.2, height: float = 3.3) -> Markup:
    """The SVG that ``paint`` draws on a matplotlib axes; ``label`` is what a screen reader says."""
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasSVG(figure)
        figure.patch.set_alpha(0)
        axes = figure.add_subplot()
        axes.patch.set_alpha(0)
        paint(axes)
        out = io.StringIO()
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None}, transparent=True)
    svg = out.getvalue()
    svg = svg[svg.index("<svg") :].replace(_INK, "currentColor")
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.S)
    used = set(re.findall(r"#([\w-]+)", svg))
    # Several plots share a page, where an id may stand once: keep only those something refers to.
    svg = re.sub(r' id="([\w.-]+)"', lambda m: m.group(0) if m.group(1) in used else "", svg)
    return Markup(svg.replace("<svg", f'<svg role="img" aria-label="{html.escape(label, quote=True)}"', 1).strip())


def _finish(axes: Any, x: str, y: str, legend: bool) -> None:
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    if legend:
        axes.legend()


def _root(x: Any) -> Any:
    return np.sqrt(np.maximum(x, 0))


def lines(
    curves: Mapping[str, Line], x: str, y: str, marks: Mapping[str, float] | None = None, root: bool = False
) -> Markup:
    """Named curves, each with its band. marks: name -> x where a dotted vertical line stands. root: x on a √ scale, as
    is usual for KL, so that the beginning is not lost."""

    def paint(axes: Any) -> None:
        for i, (name, curve) in enumerate(curves.items()):
            colour = COLOURS[i % len(COLOURS)]
            axes.plot(curve.x, curve.y, color=colour, label=name, linestyle="--" if curve.dashed else "-")
            if curve.low is not None and curve.high is not None:
                axes.fill_between(curve.x, curve.low, curve.high, color=colour, alpha=0.16, linewidth=0)
        for name, at in (marks or {}).items():
            axes.axvline(at, color=_INK, linestyle=":", linewidth=1.2, label=name)
        if root:
            axes.set_xscale("function", functions=(_root, np.square))
            axes.set_xlim(left=0)
            axes.locator_params(axis="x", nbins=7)
        _finish(axes, x, y, len(curves) + len(marks or {}) > 1)

    return draw(paint, f"{y} against {x}: {', '.join(curves)}")


def frontier(points: Mapping[str, tuple[Sequence[float], Sequence[float]]], x: str, y: str) -> Markup:
    """Points of named arms, each with its own marker."""

    def paint(axes: Any) -> None:
        for i, (name, (xs, ys)) in enumerate(points.items()):
            style = {"color": COLOURS[i % len(COLOURS)], "marker": MARKERS[i % len(MARKERS)]}
            axes.scatter(xs, ys, s=26, alpha=0.8, label=name, linewidths=0, **style)
        _finish(axes, x, y, len(points) > 1)

    return draw(paint, f"{y} against {x} of {', '.join(points)}")


def reliability(confidence: Sequence[float], accuracy: Sequence[float], count: Sequence[int]) -> Markup:
    """Observed frequency against predicted probability, a dot a bin, its area growing with the bin's count."""

    def paint(axes: Any) -> None:
        axes.plot([0, 1], [0, 1], color=_INK, linestyle=":", linewidth=1.2, label="perfect calibration")
        sizes = 20 + 260 * np.asarray(count, float) / max(1, max(count, default=1))
        axes.plot(confidence, accuracy, color=COLOURS[0], linewidth=1)
        axes.scatter(confidence, accuracy, s=sizes, color=COLOURS[0], alpha=0.75, linewidths=0, label="reward model")
        low = min([0.5, *confidence, *accuracy]) - 0.03
        axes.set_xlim(low, 1.02)
        axes.set_ylim(low, 1.04)
        _finish(axes, "predicted probability of the preferred side", "observed frequency", True)

    return draw(paint, "Reliability: observed frequency against predicted probability")


def histogram(values: Mapping[str, Sequence[float]], x: str, bins: int = 30) -> Markup:
    """Shares over common bins, outlines one over the other."""

    def paint(axes: Any) -> None:
        pooled = np.concatenate([np.asarray(v, float) for v in values.values()]) if values else np.zeros(0)
        finite = pooled[np.isfinite(pooled)]
        # The tail beyond the 99th percentile would squeeze the rest into a corner; it goes into the last bin.
        top = float(np.quantile(finite, 0.99)) if len(finite) else 1.0
        edges = np.linspace(float(finite.min()) if len(finite) else 0.0, top + 1e-9, bins + 1)
        for i, (name, v) in enumerate(values.items()):
            clipped = np.clip(np.asarray(v, float), edges[0], edges[-1])
            weights = np.full(len(clipped), 1.0 / max(1, len(clipped)))
            colour = COLOURS[i % len(COLOURS)]
            axes.hist(clipped, edges, weights=weights, color=colour, alpha=0.25, histtype="stepfilled")
            axes.hist(clipped, edges, weights=weights, color=colour, histtype="step", linewidth=1.4, label=name)
        _finish(axes, x, "share", len(values) > 1)

    return draw(paint, f"Histogram of {x}")


def bars(
    values: Mapping[str, float],
    x: str,
    errors: Mapping[str, tuple[float, float]] | None = None,
    reference: float | None = None,
) -> Markup:
    """Horizontal bars by name. errors: name -> (low, high) ends of an interval. reference: a dotted line there."""

    def paint(axes: Any) -> None:
        names = list(values)
        at = np.arange(len(names))[::-1]
        axes.barh(
            at, [values[n] for n in names], color=[COLOURS[i % len(COLOURS)] for i in range(len(names))], alpha=0.75
        )
        for name, (low, high) in (errors or {}).items():
            axes.plot([low, high], [at[names.index(name)]] * 2, color=_INK, linewidth=1.6)
        if reference is not None:
            axes.axvline(reference, color=_INK, linestyle=":", linewidth=1.2)
        axes.set_yticks(at, names)
        axes.grid(axis="y", visible=False)
        _finish(axes, x, "", False)

    return draw(paint, f"{x} of {', '.join(values)}", height=max(1.5, 0.42 * len(values) + 0.9))
