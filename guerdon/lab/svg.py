"""Figures of the lab as SVG that is equal byte for byte whenever its numbers are."""

import io
import re
from collections.abc import Callable
from typing import Any

COLOURS = ("#3b82f6", "#f07f2e", "#18a874", "#a560e8", "#e0524d", "#0ea5b7", "#c08a1e", "#7c8899")
INK = "#7a8290"
"""Reads on light and on dark paper."""
_STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "guerdon",
    "font.size": 10,
    "font.family": "sans-serif",
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": INK,
    "grid.alpha": 0.2,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
}


def drawn(size: tuple[float, float], draw: Callable[[Any], None]) -> str:
    """An SVG of ``size`` inches that ``draw`` fills: it is given matplotlib's Figure."""
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasSVG(figure)
        draw(figure)
        out = io.StringIO()
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None}, transparent=True)
    svg = out.getvalue()
    return re.sub(r"<metadata>.*?</metadata>\s*", "", svg[svg.index("<svg") :], flags=re.S)
