"""What a run did to the likelihood of both sides of its pairs, for its report."""

from collections.abc import Mapping
from typing import Any

from guerdon.audit.displacement import displacement
from guerdon.audit.pair_gradients import difference_only
from guerdon.errors import GuerdonError
from guerdon.objectives import Objective
from guerdon.report.curves import History
from guerdon.report.page import Markup, findings, heading, how_to_read, join, table

KINDS = ("log_ratios", "logps")
"""Metrics of both sides, the better first."""


def pair_likelihoods(history: History, run: Mapping[str, Any]) -> Markup:
    """Both sides' way through the run and the findings that hold; nothing where the run had no pairs."""
    for kind in KINDS:
        rows = [(m.get(f"{kind}/chosen"), m.get(f"{kind}/rejected")) for m in history]
        known = [(float(a), float(b)) for a, b in rows if isinstance(a, int | float) and isinstance(b, int | float)]
        if known:
            break
    else:
        return Markup("")
    found = displacement([a for a, _ in known], [b for _, b in known], _difference_only(run.get("config") or {}))
    trends = {"chosen": found.chosen, "rejected": found.rejected, "chosen minus rejected": found.margin}
    lines = [(name, t.start, t.end, t.change) for name, t in trends.items()]
    said = [" ".join(x for x in (f.sentence, f.todo) if x) for f in found.holding()]
    what = "Mean log-probability of a round's responses" + (
        ", minus the reference's." if kind == "log_ratios" else "; rounds of longer responses lie lower."
    )
    return join(
        [
            heading("Both sides of the pairs"),
            table(("nats a response", "start", "end", "change"), lines),
            how_to_read(f"{what} Here: {found.pattern}. A change counts only beyond its noise."),
            findings(said),
        ]
    )


def _difference_only(config: Mapping[str, Any]) -> bool | None:
    """Whether the run's method sees nothing but the difference of both sides; None where the run names no method."""
    from guerdon.training.methods import find

    try:
        preset = find(str(config.get("method")))
        given = {**(config.get("hyper") or {}), **{k: config[k] for k in ("beta", "kl") if config.get(k) is not None}}
        objective = preset.called(preset.objective, preset.settings(given))
        return difference_only(objective if isinstance(objective, Objective) else objective(0))
    except GuerdonError:
        return None
