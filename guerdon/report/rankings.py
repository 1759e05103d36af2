"""The part on how a policy ranks pairs, from the 'rankings' of ``summary.json`` or ``audit.json``."""

from collections.abc import Mapping
from typing import Any

from guerdon.report.parts import Markup, findings, heading, how_to_read, interval, join, table

OWN = (
    ("accuracy", "preferred side more likely (ranking accuracy)"),
    ("per_step", "preferred side more likely a token"),
)
AGAINST = (
    ("reference", "preferred side more likely at the start"),
    ("reward", "log-ratio to the start higher (reward accuracy)"),
)
SIDES = (
    ("chosen", "log-ratio of the preferred side to the start, nats a response"),
    ("rejected", "log-ratio of the other side to the start, nats a response"),
)


def rankings_part(summary: Mapping[str, Any]) -> Markup:
    """Sentences, accuracies and the histogram of learning difficulty; nothing where pairs were not ranked."""
    found = summary.get("rankings")
    if not found:
        return Markup("")
    # Runs of older versions did not measure how far both sides went.
    moved = bool(found.get("chosen", 1) or found.get("rejected", 1))
    accuracies = [
        (words, f"{found[name]['estimate']:.3f}", interval(found[name]["low"], found[name]["high"]))
        for name, words in (*OWN, *(AGAINST if moved else ()))
    ]
    sides = [(words, f"{found[name]:+.2f}", "") for name, words in SIDES if moved and name in found]
    gap = found["gap"]
    accuracies.append(
        (
            "optimum of the objective minus ranking accuracy, over β",
            f"{gap['median']:.3f}",
            interval(gap["least"], gap["most"]),
        )
    )
    bins = [(_range(b), b["pairs"], b["right"]) for b in found["difficulty"] if b["pairs"]]
    return join(
        [
            heading("Which pairs it ranks rightly"),
            findings(found["sentences"]),
            table(("", "estimate", "interval"), [*accuracies, *sides]),
            table(("the start was wrong by (nats)", "pairs", "right now"), bins),
            how_to_read(
                f"On {found['pairs']:,} pairs. Pairs above 0 nats were ranked wrongly at the start: the further, the "
                "smaller a loss they need before they turn, and the less a falling loss says about them. Rater shares "
                "are taken as 0.75 where the optimum is computed."
            ),
        ]
    )


def _range(entry: Mapping[str, Any]) -> str:
    low, high = entry["low"], entry["high"]
    if low is None:
        return f"below {high:g}"
    return f"{low:g} or more" if high is None else f"{low:g} to {high:g}"
