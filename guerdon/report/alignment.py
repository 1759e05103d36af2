"""The sections on an alignment run: what training did, and what the policy says before and after."""

from collections.abc import Mapping, Sequence
from typing import Any

from guerdon.report import plots
from guerdon.report.page import Markup, Section, figure, figures, how_to_read, join, side_by_side, table

# Metric -> how to read its curve.
CURVES: Mapping[str, str] = {
    "loss": "The objective; its scale differs from method to method.",
    "reward": "The reward trained on, a mean over the samples of a round.",
    "rewards/accuracies": "Share of pairs whose chosen side has the higher implicit reward.",
    "rewards/margins": "Implicit reward of the chosen minus the rejected side.",
    "logps/chosen": "Log-probability of chosen responses; that it falls is common in DPO and worth knowing.",
    "objective/kl": "Distance from the starting policy in nats a response.",
    "kl": "Distance from the starting policy in nats a token.",
    "completions/mean_length": "Length of the samples in tokens; growth without reason is the commonest exploit.",
    "entropy": "Uncertainty a token; towards zero the policy says one thing only.",
    "eval/reward": "Reward on held-out prompts.",
    "eval/accuracy": "Share of held-out pairs whose chosen side has the higher implicit reward.",
    "eval/distinct": "Share of different responses on held-out prompts.",
}


def alignment_section(history: Sequence[Mapping[str, Any]], summary: Mapping[str, Any]) -> Section:
    """Curves over rounds, and what was measured before and after."""
    pictures = []
    for name, caption in CURVES.items():
        points = [(m.get("round", i), m[name]) for i, m in enumerate(history) if isinstance(m.get(name), int | float)]
        if len(points) > 1:
            line = plots.Line([float(x) for x, _ in points], [float(y) for _, y in points])
            pictures.append(figure(plots.lines({name: line}, "round", name), caption))
    parts: list[Markup] = []
    before, after = summary.get("before") or {}, summary.get("after") or {}
    if after:
        parts.append(table(("", "before", "after"), [(k, before.get(k), v) for k, v in after.items()]))
        parts.append(
            how_to_read(
                str(summary.get("measured", "Measured on held-out prompts with the same seeds before and after."))
            )
        )
    parts.append(figures(*pictures))
    return Section("Alignment", join(parts), str(summary.get("finding", "")))


def samples_section(samples: Sequence[Mapping[str, Any]]) -> Section:
    """Responses side by side, as they came."""
    body = join(side_by_side(s["prompt"], [(c["name"], c["text"]) for c in s["columns"]]) for s in samples)
    read = how_to_read(
        "Drawn with one seed on held-out prompts where there are any, not chosen; read them before believing a curve."
    )
    return Section("Samples side by side", join([read, body]))
